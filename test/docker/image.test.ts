/**
 * The image (docker/Dockerfile) and docker/compose.yaml, by a real dockerd: built, small, run as its own user with the
 * capabilities that docs/image.md names and no others, and brought up and taken down by two real composes.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CommandResult } from '../e2e/command.js';
import { ROOT, waitFor } from '../e2e/host-pair.js';
import { CONSUL_IMAGE, IMAGE, ImageHost, START_MS_MAX } from './image-host.js';

/** What docker/Dockerfile adds to its base: 40 MB, of which LMDB's binaries are 15. */
const OWN_BYTES_MAX = 50e6;
const HEALTHY_MS_MAX = 50_000;
const COMPOSE_MS_MAX = 180_000;

let host: ImageHost;

beforeAll(async () => {
  host = await ImageHost.start();
  await host.build();
  await host.buildConsul();
}, START_MS_MAX);

afterAll(async () => {
  await host?.remove();
});

const docker = (...args: string[]): Promise<string> => host.docker.mustDocker(...args);

async function must(running: Promise<CommandResult>): Promise<string> {
  const { exitCode, stdout, stderr } = await running;
  if (exitCode !== 0) throw new Error(stderr || stdout);
  return stdout;
}

async function untilHealthy(container: string): Promise<void> {
  const health = async () => (await docker('inspect', '-f', '{{.State.Health.Status}}', container)).trim();
  await waitFor(`${container} to be healthy`, async () => (await health()) === 'healthy', HEALTHY_MS_MAX).catch(
    async (error) => {
      const { stdout, stderr } = await host.docker.docker('logs', container);
      throw new Error(`${error.message}: ${(stdout + stderr).slice(-2000)}`);
    },
  );
}

/** A host of the overlay: vtepd in a container with these capabilities and no others. */
async function runHost(name: string, capabilities: readonly string[], ...options: string[]): Promise<void> {
  const caps = ['--cap-drop', 'ALL', ...capabilities.flatMap((capability) => ['--cap-add', capability])];
  const own = ['--name', name, '--hostname', name, '--network', 'underlay', '--device', `${host.tun}:/dev/net/tun`];
  // As often as a test likes it; the image's own interval is ten seconds.
  const health = ['--health-interval', '1s'];
  await docker('run', '-d', ...own, ...caps, ...health, ...options, IMAGE, ...VTEPD);
}
const VTEPD = ['--registry', 'http://consul:8500', '--underlay', 'eth0'];
/** docs/image.md: what can't be set from within is set from without. */
const SYSCTLS = ['ip_forward', 'conf.default.arp_ignore', 'conf.default.route_localnet'].flatMap((name) => [
  '--sysctl',
  `net.ipv4.${name}=1`,
]);

const UNDERLAY = 'underlay0';

describe('the image', () => {
  beforeAll(async () => {
    await docker('network', 'create', '-o', `com.docker.network.bridge.name=${UNDERLAY}`, 'underlay');
    const agent = ['agent', '-server', '-bootstrap-expect=1', '-client=0.0.0.0', '-data-dir=/consul/data'];
    await docker('run', '-d', '--name', 'consul', '--network', 'underlay', CONSUL_IMAGE, ...agent);
    const leads = () => host.docker.docker('exec', 'consul', 'consul', 'operator', 'raft', 'list-peers');
    await waitFor('Consul to lead', async () => (await leads()).exitCode === 0, HEALTHY_MS_MAX);
    await Promise.all([
      runHost('least', ['NET_ADMIN']),
      // What vtep attach needs besides, and ping.
      runHost('one', ['NET_ADMIN', 'SYS_ADMIN', 'NET_RAW'], ...SYSCTLS, '--security-opt', 'apparmor=unconfined'),
      runHost('two', ['NET_ADMIN', 'SYS_ADMIN', 'NET_RAW'], ...SYSCTLS, '--security-opt', 'apparmor=unconfined'),
    ]);
    await Promise.all(['least', 'one', 'two'].map(untilHealthy));
  });

  it('adds little to its base', async () => {
    const size = async (image: string) => Number(await docker('image', 'inspect', '-f', '{{.Size}}', image));
    const own = (await size(IMAGE)) - (await size(host.base));
    expect(own).toBeGreaterThan(10e6);
    expect(own).toBeLessThan(OWN_BYTES_MAX);
  });

  it('has every program of package.json on its path, and neither compiler nor development tools', async () => {
    const { bin } = JSON.parse(await docker('run', '--rm', '--entrypoint', 'cat', IMAGE, '/opt/vtep/package.json'));
    for (const name of Object.keys(bin)) expect(await docker('exec', 'one', 'which', name)).toContain(`/${name}`);
    for (const name of ['tsc', 'cc', 'gcc'])
      expect((await host.docker.docker('exec', 'one', 'which', name)).exitCode).toBe(1);
    expect(await docker('exec', 'one', 'ls', '/opt/vtep/node_modules')).not.toMatch(/typescript|vitest|@types/);
  });

  it('runs vtepd as a user of its own, whose only capability is NET_ADMIN where it has no other', async () => {
    const status = await docker('exec', 'least', 'cat', '/proc/1/status');
    expect(status).toMatch(/^Uid:\s*4789\s+4789\s+4789\s+4789$/m);
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapAmb'])
      expect(status).toMatch(new RegExp(`^${set}:\\s*0{12}1000$`, 'm'));
    expect((await host.docker.docker('logs', 'least')).stderr).toContain('daemon.no-sys-admin');
    expect(await docker('exec', 'least', 'vtep', 'status')).toMatch(/connected/);
  });

  it('refuses to attach without SYS_ADMIN, and says what would let it', async () => {
    await docker('exec', 'least', 'vtep', 'network', 'create', 'forbidden');
    const attach = ['vtep', 'attach', '--network', 'forbidden', '--netns', '/proc/1/ns/net'];
    const result = await host.docker.docker('exec', 'least', ...attach);
    expect(result.exitCode).toBe(1);
    expect(result.stderr).toMatch(/can't enter .*CAP_SYS_ADMIN.*--cap-add SYS_ADMIN/);
    await docker('exec', 'least', 'vtep', 'network', 'rm', 'forbidden');
  });

  it('carries pings between containers of two hosts, with gateway and port security', async () => {
    await docker('exec', 'one', 'vtep', 'network', 'create', 'blue', '--subnet', '10.7.0.0/24');
    for (const [name, ip] of [
      ['one', '10.7.0.11'],
      ['two', '10.7.0.12'],
    ] as const) {
      await docker('exec', '-u', 'root', name, 'ip', 'netns', 'add', 'web');
      await docker('exec', name, 'vtep', 'attach', '--network', 'blue', '--netns', 'web', '--ip', ip);
    }
    await pings('one', '10.7.0.12');
    await pings('two', '10.7.0.1');
    const status = await docker('exec', 'two', 'vtep', 'status');
    expect(status).toMatch(/^gateways +blue 10\.7\.0\.1\/24$/m);
    expect(status).toMatch(/^port security +1 port$/m);
  });

  it('works in the network of its machine, and sets there what a gateway needs', {
    timeout: COMPOSE_MS_MAX,
  }, async () => {
    const address = '{{(index .NetworkSettings.Networks "underlay").IPAddress}}';
    const consul = `http://${(await docker('inspect', '-f', address, 'consul')).trim()}:8500`;
    // The first one makes /run/netns a mount that others can follow.
    await must(host.docker.exec('ip', 'netns', 'add', 'web'));
    const caps = ['NET_ADMIN', 'NET_BIND_SERVICE', 'SYS_ADMIN'].flatMap((name) => ['--cap-add', name]);
    const views = ['-v', '/proc/sys/net:/host/proc/sys/net', '-v', '/run/netns:/run/netns:rslave'];
    const own = ['--name', 'native', '--network', 'host', '--device', `${host.tun}:/dev/net/tun`];
    const health = ['--health-interval', '1s'];
    const vtepd = ['--registry', consul, '--underlay', UNDERLAY, '--node', 'native'];
    await docker('run', '-d', ...own, '--cap-drop', 'ALL', ...caps, ...views, ...health, IMAGE, ...vtepd);
    await untilHealthy('native');
    await docker('exec', 'native', 'vtep', 'attach', '--network', 'blue', '--netns', 'web', '--ip', '10.7.0.13');
    // Not across: this dockerd drops what its machine forwards, bridged frames included (docs/operations.md, firewalls).
    const toGateway = ['nsenter', '--net=/run/netns/web', 'ping', '-c', '1', '-W', '2', '10.7.0.1'];
    await waitFor(
      'the gateway to answer',
      async () => (await host.docker.exec(...toGateway)).exitCode === 0,
      HEALTHY_MS_MAX,
    );
    const status = await docker('exec', 'native', 'vtep', 'status');
    expect(status).toMatch(/^gateways +blue 10\.7\.0\.1\/24$/m);
    const settings = ['arp_ignore', 'route_localnet'].map((name) => `/proc/sys/net/ipv4/conf/vtep-b256/${name}`);
    expect(await must(host.docker.exec('cat', ...settings))).toBe('1\n1');
    await waitFor('DNS on port 53', async () => {
      const { stderr } = await host.docker.docker('logs', 'native');
      return stderr.includes('names.listening');
    });
  });

  async function pings(name: string, address: string): Promise<void> {
    const inside = ['nsenter', '--net=/run/netns/web', 'ping', '-c', '1', '-W', '2', address];
    const isAnswered = async () => (await host.docker.docker('exec', '-u', 'root', name, ...inside)).exitCode === 0;
    await waitFor(`${address} to answer ${name}`, isAnswered, HEALTHY_MS_MAX);
  }

  it('is unhealthy while its vtepd serves nobody, and stops at once when it is told to', async () => {
    const check = ['exec', '-e', 'VTEP_SOCKET=/run/vtep/none.sock', 'one', 'node', '/opt/vtep/docker/healthcheck.mjs'];
    const result = await host.docker.docker(...check);
    expect(result).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('no health of /run/vtep/none.sock') });
    const names = ['one', 'two', 'least', 'native'];
    await docker('stop', '-t', '30', ...names);
    for (const name of names) {
      expect((await docker('inspect', '-f', '{{.State.ExitCode}}', name)).trim(), name).toBe('0');
    }
  });

  it('without NET_ADMIN, or where file capabilities do not count, ends with one line that says so', async () => {
    for (const options of [[], ['--cap-add', 'NET_ADMIN', '--security-opt', 'no-new-privileges']]) {
      const run = ['run', '--rm', '--cap-drop', 'ALL', ...options, IMAGE, ...VTEPD];
      const result = await host.docker.docker(...run);
      expect(result.exitCode).toBe(1);
      expect(result.stderr).toMatch(/^vtepd: vtepd runs as user 4789 without the capability CAP_NET_ADMIN[^\n]*$/);
    }
  });
});

describe('compose.yaml', () => {
  const OF_COMPOSE = 'label=com.docker.compose.project';

  it('by docker-compose: does what its first lines say, and leaves nothing', { timeout: COMPOSE_MS_MAX }, async () => {
    const program = 'docker-compose';
    await up(program);
    const on = (name: string, ...args: string[]) => must(host.compose(program, 'exec', '-T', name, ...args));
    await on('host1', 'vtep', 'network', 'create', 'my_overlay');
    expect(await on('host2', 'vtep', 'network', 'ls')).toContain('my_overlay');
    for (const [name, netns] of [
      ['host1', 'web'],
      ['host2', 'db'],
    ] as const) {
      await on(name, 'ip', 'netns', 'add', netns);
      await on(name, 'vtep', 'attach', '--network', 'my_overlay', '--netns', netns);
    }
    const ping = ['nsenter', '--net=/run/netns/db', 'ping', '-c', '1', '-W', '2', '10.0.0.2'];
    const answers = async () => (await host.compose(program, 'exec', '-T', 'host2', ...ping)).exitCode === 0;
    await waitFor('the ping across', answers, HEALTHY_MS_MAX);
    await down(program);
  });

  it('by the compose that is a plugin of docker: is healthy, and leaves nothing', {
    timeout: COMPOSE_MS_MAX,
  }, async () => {
    // Of Debian trixie; it runs by itself as well.
    const folder = join(ROOT, '.cache/image/compose');
    if (!existsSync(folder)) {
      await execa('bash', [join(ROOT, 'scripts/debian-package.sh'), folder, 'trixie', 'docker-compose']);
    }
    const program = join(folder, 'usr/libexec/docker/cli-plugins/docker-compose');
    await up(program);
    await down(program);
  });

  async function up(program: string): Promise<void> {
    await must(host.compose(program, 'up', '-d'));
    const ids = (await docker('ps', '-q', '--filter', OF_COMPOSE)).split('\n').filter((id) => id !== '');
    expect(ids).toHaveLength(3);
    await Promise.all(ids.map(untilHealthy));
  }

  async function down(program: string): Promise<void> {
    await must(host.compose(program, 'down', '-v'));
    expect(await docker('ps', '-aq', '--filter', OF_COMPOSE)).toBe('');
    expect(await docker('network', 'ls', '-q', '--filter', OF_COMPOSE)).toBe('');
    expect(await docker('volume', 'ls', '-q', '--filter', OF_COMPOSE)).toBe('');
  }
});
