/**
 * The classic workflow with two real dockerds that know nothing of each other (Docker 20.10.24 of bookworm: no cluster
 * store), vtepd beside each, and one real Consul. One set-up for all cases; they build on one another and end with
 * everything torn down.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROOT, waitFor } from '../e2e/host-pair.js';
import { churn } from './churn.js';
import { DOCKER_HOSTS, DockerPair } from './docker-pair.js';
import { IMAGE } from './image.js';
import { registered, waitNothingLeft } from './leftovers.js';

const NETWORK = 'my_overlay';
const address: Record<string, string> = {};
const STATE = '{{.State.Pid}} {{json .NetworkSettings.Networks}}';
let pair: DockerPair;

beforeAll(async () => {
  pair = await DockerPair.start({ suite: 'bookworm', daemonOptions: ['--docker-plugin', 'on'] });
  await Promise.all(DOCKER_HOSTS.map((name) => pair.startVtepd(name)));
});

afterAll(async () => {
  await pair?.cleanup();
});

describe('a network', () => {
  it('is made once, by one command, and is there on both hosts', async () => {
    await pair.docker('a', 'network', 'create', '-d', 'vtep', NETWORK);
    await pair.waitNetworks(NETWORK);
    for (const name of DOCKER_HOSTS) {
      expect((await pair.vtep(name, 'network', 'ls')).stdout).toContain(NETWORK);
      expect(await pair.docker(name, 'network', 'ls')).toMatch(new RegExp(`${NETWORK} +vtep +local`));
    }
    const shown = await Promise.all(
      DOCKER_HOSTS.map((name) => pair.docker(name, 'network', 'inspect', '-f', '{{json .IPAM.Config}}', NETWORK)),
    );
    const [a, b] = shown.map((text) => JSON.parse(text)[0]);
    expect(b.Subnet).toBe(a.Subnet);
    expect(b.Gateway ?? a.Gateway).toBe(a.Gateway);
  });

  it('joins containers of both hosts, and two of one host', async () => {
    address.one = await pair.run('a', 'one', NETWORK);
    address.three = await pair.run('a', 'three', NETWORK);
    address.two = await pair.run('b', 'two', NETWORK);
    expect(new Set(Object.values(address)).size).toBe(3);
    for (const [name, container] of [
      ['a', 'one'],
      ['a', 'three'],
      ['b', 'two'],
    ] as const) {
      expect(await pair.docker(name, 'exec', container, 'ip', 'addr', 'show', 'eth0')).toContain(address[container]);
      for (const target of Object.values(address)) {
        expect(await pair.pings(name, container, target), `${container} to ${target}`).toBe(true);
      }
    }
    // 1500 of the wire less 50.
    expect(await pair.docker('b', 'exec', 'two', 'cat', '/sys/class/net/eth0/mtu')).toBe('1450');
  });

  it('resolves the names of containers, of this host and of the other', async () => {
    for (const [name, container] of [
      ['a', 'one'],
      ['a', 'three'],
      ['b', 'two'],
    ] as const) {
      for (const target of ['one', 'two', 'three']) {
        expect(await pair.pings(name, container, target), `${container} to ${target}`).toBe(true);
      }
    }
    const endpoints = (await pair.vtep('b', 'endpoint', 'ls', '--json')).json() as { name: string }[];
    expect(endpoints.map((endpoint) => endpoint.name).sort()).toEqual(['one', 'three', 'two']);
  });

  it('resolves longer names, aliases, and new names of containers that the other host has', async () => {
    await pair.run('b', 'shop', NETWORK, '--network-alias', 'store');
    for (const target of ['two.my_overlay', 'two.my_overlay.vtep', 'shop', 'store']) {
      expect(await pair.pings('a', 'one', target), `one to ${target}`).toBe(true);
    }
    await pair.docker('b', 'rename', 'shop', 'stall');
    for (const target of ['stall', 'store'])
      expect(await pair.pings('a', 'one', target), `one to ${target}`).toBe(true);
    await pair.docker('b', 'rm', '-f', 'stall');
    expect(await pair.pings('a', 'one', 'stall', 0)).toBe(false);
  });

  it('leads outside, and publishes a port', async () => {
    expect(await pair.pings('a', 'one', '192.0.2.2')).toBe(true);
    const options = ['-p', '8080:80', '--network', NETWORK, IMAGE];
    await pair.docker('a', 'run', '-d', '--name', 'web', ...options, 'httpd', '-f', '-p', '80', '-h', '/etc');
    const page = async (where: 'a' | 'b') =>
      (await pair.host(where).exec('curl', '-s', '-m', '3', 'http://192.0.2.1:8080/hostname')).stdout;
    const hostname = await pair.docker('a', 'exec', 'web', 'cat', '/etc/hostname');
    await waitFor('the published port', async () => (await page('b')) === hostname.trim());
    expect(await page('a')).toBe(hostname.trim());
    await pair.docker('a', 'rm', '-f', 'web');
    expect(await page('b')).toBe('');
  });

  it('gives a wished address, and no address twice', async () => {
    // Docker takes --ip on networks with a subnet of the user's only.
    await pair.docker('a', 'network', 'create', '-d', 'vtep', '--subnet', '10.65.0.0/24', 'fixed');
    await pair.waitNetworks(NETWORK, 'fixed');
    const first = await pair.run('a', 'first', 'fixed');
    expect(await pair.run('b', 'wished', 'fixed', '--ip', '10.65.0.77')).toBe('10.65.0.77');
    expect(await pair.pings('a', 'first', '10.65.0.77')).toBe(true);
    for (const [name, taken] of [
      ['a', '10.65.0.77'],
      ['b', first],
    ] as const) {
      const options = ['--name', 'refused', '--network', 'fixed', '--ip', taken, IMAGE, 'true'];
      const refused = await pair.host(name).docker('run', ...options);
      expect(refused.exitCode).not.toBe(0);
      expect(refused.stderr).toContain(taken);
      await pair.docker(name, 'rm', '-f', 'refused');
    }
    await pair.docker('a', 'rm', '-f', 'first');
    await pair.docker('b', 'rm', '-f', 'wished');
    await pair.docker('a', 'network', 'rm', 'fixed');
    await pair.waitNetworks(NETWORK);
  });

  it('has containers without a network of Docker attached by script; they keep their address over a restart', async () => {
    const script = (name: 'a' | 'b', file: string, container: string) => {
      const options = ['--container', container, '--socket', pair.wire.socketPath(name)];
      return pair.host(name).exec(join(ROOT, 'docker', file), NETWORK, ...options);
    };
    const given: Record<string, string> = {};
    for (const [name, container] of [
      ['a', 'web'],
      ['b', 'peer'],
    ] as const) {
      await pair.docker(name, 'run', '-d', '--name', container, '--network', 'none', IMAGE, 'sleep', '1000000');
      const attached = await script(name, 'attach.sh', container);
      expect(attached.stdout, attached.stderr).toMatch(/^eth0 [0-9.]+\/\d+$/m);
      expect(await script(name, 'attach.sh', container)).toMatchObject({ exitCode: 0, stdout: attached.stdout });
      given[container] = /eth0 ([0-9.]+)/.exec(attached.stdout)![1]!;
    }
    expect(await pair.pings('b', 'peer', given.web!)).toBe(true);
    expect(await pair.pings('a', 'one', given.web!)).toBe(true);
    await pair.docker('a', 'restart', '-t', '0', 'web');
    expect(await pair.pings('b', 'peer', given.web!, 20)).toBe(true);
    expect(await pair.docker('a', 'exec', 'web', 'ip', 'addr', 'show', 'eth0')).toContain(`${given.web}/`);
    await pair.docker('a', 'rm', '-f', 'web');
    await pair.docker('b', 'rm', '-f', 'peer');
    for (const [name, container] of [
      ['a', 'web'],
      ['b', 'peer'],
    ] as const) {
      const detached = await script(name, 'detach.sh', container);
      expect(detached).toMatchObject({ exitCode: 0, stdout: expect.stringContaining(`detached ${given[container]}`) });
      const again = await script(name, 'detach.sh', container);
      expect(again).toMatchObject({ exitCode: 0, stdout: expect.stringContaining('nothing was attached') });
    }
    expect((await pair.vtep('a', 'endpoint', 'ls')).stdout).not.toMatch(/web|peer/);
  });
});

describe('other networks', () => {
  it('are internal: containers reach each other and nothing else', async () => {
    await pair.docker('b', 'network', 'create', '-d', 'vtep', '--internal', 'inner');
    await pair.waitNetworks(NETWORK, 'inner');
    const inner = await pair.run('b', 'inner-b', 'inner');
    await pair.run('a', 'inner-a', 'inner');
    expect(await pair.pings('a', 'inner-a', inner)).toBe(true);
    expect(await pair.pings('a', 'inner-a', '192.0.2.2', 1)).toBe(false);
    expect(await pair.pings('a', 'inner-a', address.one!, 1)).toBe(false);
  });

  it('have IPv6 too', async () => {
    const subnets = ['--ipv6', '--subnet', '10.66.0.0/24', '--subnet', 'fd66::/64'];
    await pair.docker('a', 'network', 'create', '-d', 'vtep', ...subnets, 'six');
    await pair.waitNetworks(NETWORK, 'inner', 'six');
    await pair.run('a', 'six-a', 'six');
    expect(await pair.run('b', 'six-b', 'six')).toMatch(/^10\.66\.0\./);
    const six = await pair.address('b', 'six-b', 'six', 'GlobalIPv6Address');
    expect(six).toMatch(/^fd66::/);
    expect(await pair.pings('a', 'six-a', six)).toBe(true);
  });

  it('are made by vtep, and are there for docker', async () => {
    await pair.vtep('b', 'network', 'create', 'by_vtep', '--subnet', '10.67.0.0/24', '--vni', '5000');
    await pair.waitNetworks(NETWORK, 'inner', 'six', 'by_vtep');
    await pair.run('a', 'by-a', 'by_vtep');
    expect(await pair.pings('a', 'by-a', await pair.run('b', 'by-b', 'by_vtep'))).toBe(true);
  });

  it('go, on both hosts, when they are removed on one; not while containers are on them anywhere', async () => {
    const refused = await pair.host('b').docker('network', 'rm', NETWORK);
    expect(refused.exitCode).not.toBe(0);
    expect(refused.stderr).toContain('active endpoints');
    // Of a's containers b's dockerd knows nothing: it removes its own view, vtep keeps the network and shows it again.
    await pair.docker('b', 'rm', '-f', 'two');
    // Docker takes its own network away whatever its driver says: vtep keeps it, and shows it here again.
    await pair.host('b').docker('network', 'rm', NETWORK);
    expect(pair.host('b').log('vtepd')).toMatch(/in use by .*(one|three)@/);
    await pair.waitNetworks(NETWORK, 'inner', 'six', 'by_vtep');
    expect(await pair.pings('a', 'one', address.three!)).toBe(true);
    address.two = await pair.run('b', 'two', NETWORK);
    await pair.docker('a', 'rm', '-f', 'inner-a', 'six-a', 'by-a');
    await pair.docker('b', 'rm', '-f', 'inner-b', 'six-b', 'by-b');
    // For all hosts, also where it was made by hand: b has made this one.
    await pair.docker('a', 'network', 'rm', 'inner');
    await pair.docker('a', 'network', 'rm', 'six', 'by_vtep');
    await pair.waitNetworks(NETWORK);
    expect((await registered(pair, 'networks/')).map(({ key }) => key)).toEqual([`networks/${NETWORK}`]);
  });
});

describe('restarts', () => {
  const bothPing = async () => {
    expect(await pair.pings('a', 'one', address.two!), 'one to two').toBe(true);
    expect(await pair.pings('b', 'two', address.three!), 'two to three').toBe(true);
    expect(await pair.pings('b', 'two', 'one'), 'two to one by name').toBe(true);
  };

  /** A container that comes and goes shows that all parts work together again. */
  const newOnesWork = async () => {
    const added = await pair.run('a', 'added', NETWORK);
    expect(await pair.pings('b', 'two', added)).toBe(true);
    await pair.docker('a', 'rm', '-f', 'added');
  };

  it.each([
    ['dockerd', 'SIGTERM'],
    ['vtepd', 'SIGTERM'],
    ['both', 'SIGTERM'],
    ['both', 'SIGKILL'],
  ] as const)('of %s by %s leave the containers as they were', async (which, signal) => {
    const before = await pair.docker('a', 'inspect', '-f', STATE, 'one');
    if (which !== 'vtepd') await pair.host('a').stopDockerd(signal);
    if (which !== 'dockerd') await pair.stopVtepd('a', signal);
    expect(await pair.pings('b', 'two', address.one!, which === 'dockerd' ? 10 : 0)).toBe(which === 'dockerd');
    // vtepd last: dockerd finds a plugin that is not there yet.
    if (which !== 'vtepd') await pair.host('a').startDockerd();
    if (which !== 'dockerd') await pair.startVtepd('a');
    await bothPing();
    expect(await pair.docker('a', 'inspect', '-f', STATE, 'one')).toBe(before);
    await newOnesWork();
  });

  it('forget nothing of a container that ended meanwhile', async () => {
    await pair.run('b', 'ends', NETWORK);
    await pair.stopVtepd('b', 'SIGKILL');
    // dockerd asks again and again, and waits meanwhile.
    const removal = pair.docker('b', 'rm', '-f', 'ends');
    await pair.startVtepd('b');
    await removal;
    await waitFor(
      'the endpoint to go',
      async () => !(await pair.vtep('a', 'endpoint', 'ls')).stdout.includes('ends'),
      20_000,
    );
  });
});

it('leaves nothing of containers that come and go at random (the short form of npm run soak:docker)', async () => {
  await pair.docker('b', 'network', 'create', '-d', 'vtep', 'churn');
  await pair.waitNetworks(NETWORK, 'churn');
  await pair.docker('a', 'rm', '-f', 'one', 'three');
  await pair.docker('b', 'rm', '-f', 'two');
  const seed = Math.floor(Math.random() * 2 ** 28);
  const options = { pair, networks: [NETWORK, 'churn'], seconds: 20, containers: 24, seed, print: () => undefined };
  const { starts, pings } = await churn(options);
  expect(starts).toBeGreaterThan(4);
  expect(pings).toBeGreaterThan(0);
  await pair.docker('b', 'network', 'rm', 'churn');
  await pair.waitNetworks(NETWORK);
});

describe('the end', () => {
  it('without mirroring, a network is adopted by the explicit command', async () => {
    address.one = await pair.run('a', 'one', NETWORK);
    await pair.stopVtepd('b', 'SIGTERM');
    pair.wire.daemonOptions = ['--docker-plugin', 'on', '--docker-api', 'off'];
    await pair.startVtepd('b');
    await pair.docker('b', 'network', 'rm', NETWORK);
    expect(await pair.networks('b')).toEqual([]);
    const names = ['--ipam-driver', 'vtep', '--ipam-opt', `vtep.network=${NETWORK}`, '-o', `vtep.network=${NETWORK}`];
    await pair.docker('b', 'network', 'create', '-d', 'vtep', ...names, NETWORK);
    address.two = await pair.run('b', 'two', NETWORK);
    expect(await pair.pings('b', 'two', address.one!)).toBe(true);
  });

  it('leaves nothing', async () => {
    await pair.docker('a', 'rm', '-f', 'one');
    await pair.docker('b', 'rm', '-f', 'two');
    await waitNothingLeft(pair, { networksToo: false });
    // Both hosts made it by hand: a follows, as it has Docker's API to ask.
    await pair.docker('b', 'network', 'rm', NETWORK);
    await waitNothingLeft(pair, { networksToo: true });
    await pair.waitNetworks();
  });
});
