/**
 * What a newcomer does wrong, or finds on the machine, gets one clear line that names the thing and the value: from
 * vtepd at its start, and from vtep.
 */
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CLI, createHostPair, type HostPair, REGISTRY_URL, run, UNDERLAY, waitFor } from './host-pair.js';

const MEANING_OF_STACK = /\n\s+at |node:internal|Error: .*\n.*\n/;

describe('vtepd', () => {
  let pair: HostPair;

  beforeAll(async () => {
    pair = await createHostPair({ startDaemons: false });
  });
  afterAll(async () => {
    await pair?.cleanup();
  });

  /** Starts vtepd through `wrapper` and expects it to end by itself with one line. */
  async function refusedStart(wrapper: string[], args = pair.daemonArgs('a'), exitCodeWanted = 1): Promise<string> {
    const [command = '', ...rest] = [...wrapper, process.execPath, ...args];
    const { exitCode, stderr, stdout } = await run(command, rest, 15_000);
    const output = `${stdout}\n${stderr}`.trim();
    expect(exitCode, output).toBe(exitCodeWanted);
    expect(output.split('\n'), output).toHaveLength(1);
    expect(output).not.toMatch(MEANING_OF_STACK);
    return output;
  }
  const inA = () => ['ip', 'netns', 'exec', pair.netns('a')];

  it('not root', async () => {
    // A user namespace without a mapping: the same files, but nobody's rights.
    expect(await refusedStart(['unshare', '--user'])).toMatch(/root/);
  });

  it('no /dev/net/tun', async () => {
    const hide = ['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs none /dev/net && exec "$@"', 'sh'];
    expect(await refusedStart([...hide, ...inA()])).toContain('/dev/net/tun');
  });

  it('the port taken by a kernel VXLAN device', async () => {
    await pair.mustExec(
      'a',
      'ip',
      'link',
      'add',
      'vx7',
      'type',
      'vxlan',
      'id',
      '7',
      'dstport',
      '4789',
      'dev',
      UNDERLAY,
    );
    await pair.mustExec('a', 'ip', 'link', 'set', 'vx7', 'up');
    const line = await refusedStart(inA());
    expect(line).toContain('4789');
    expect(line).toContain('vx7');
    await pair.mustExec('a', 'ip', 'link', 'del', 'vx7');
  });

  it('the port taken by another socket', async () => {
    const socat = pair.spawn('socat', pair.netns('a'), 'socat', '-u', 'UDP4-RECV:4789', '/dev/null');
    await waitFor('socat', async () => (await pair.mustExec('a', 'ss', '-Hlun')).stdout.includes(':4789'));
    expect(await refusedStart(inA())).toContain('4789');
    const ended = new Promise((resolve) => socat.once('exit', resolve));
    socat.kill('SIGKILL');
    await ended;
  });

  it('an underlay interface that does not exist', async () => {
    const args = pair.daemonArgs('a').map((arg) => (arg === UNDERLAY ? 'ens99' : arg));
    expect(await refusedStart(inA(), args)).toContain('ens99');
  });

  it('an option that does not exist', async () => {
    expect(await refusedStart(inA(), [...pair.daemonArgs('a'), '--colour'], 2)).toContain('--colour');
  });

  it('the registry not reachable: it stays up, says so once, and answers what asks it', async () => {
    await pair.startDaemon('b', { ready: false });
    await waitFor('the API of b', async () => (await pair.vtep('b', 'status', '--json')).exitCode === 0);
    await waitFor('the line in the log', () => pair.log('vtepd-b').includes(REGISTRY_URL));
    const create = await pair.vtep('b', 'network', 'create', 'my_overlay');
    expect(create.exitCode).toBe(1);
    expect(create.stderr.trim().split('\n')).toHaveLength(1);
    expect(create.stderr).toContain(REGISTRY_URL);
    const status = (await pair.mustVtep('b', 'status', '--json')).json();
    expect(status.registry).toMatchObject({ url: REGISTRY_URL, connected: false });
    expect(pair.log('vtepd-b')).not.toMatch(/\n\s+at /);
    expect(
      pair
        .log('vtepd-b')
        .split('\n')
        .filter((line) => line.includes(REGISTRY_URL)).length,
    ).toBeLessThan(6);

    // And it is no dead end: the registry comes, and all goes on by itself.
    await pair.startDaemon('a');
    await waitFor(
      'b to connect',
      async () => {
        return (await pair.mustVtep('b', 'status', '--json')).json().registry.connected === true;
      },
      15_000,
    );
    await pair.mustVtep('b', 'network', 'create', 'my_overlay');
  });
});

describe('vtep', () => {
  let pair: HostPair;

  beforeAll(async () => {
    pair = await createHostPair();
    await pair.mustVtep('a', 'network', 'create', 'tiny', '--subnet', '10.9.0.0/29');
    await pair.addNamespace('free');
  });
  afterAll(async () => {
    await pair?.cleanup();
  });

  async function refused(...args: string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await pair.vtep('a', ...args);
    expect(exitCode, stdout).toBeGreaterThan(0);
    expect(stdout).toBe('');
    expect(stderr.trim().split('\n'), stderr).toHaveLength(1);
    expect(stderr).not.toMatch(MEANING_OF_STACK);
    return stderr;
  }
  const attach = (...args: string[]) => refused('attach', '--netns', pair.netns('free'), ...args);

  it('a network that does not exist', async () => {
    expect(await refused('network', 'inspect', 'nowhere')).toContain('nowhere');
    expect(await refused('network', 'rm', 'nowhere')).toContain('nowhere');
    expect(await attach('--network', 'nowhere')).toContain('nowhere');
  });

  it('a network that exists already', async () => {
    expect(await refused('network', 'create', 'tiny')).toMatch(/tiny.*exists/);
  });

  it.each(['0', '16777216', '-1', 'abc', '1.5'])('a bad VNI: %s', async (vni) => {
    const line = await refused('network', 'create', 'other', `--vni=${vni}`);
    expect(line).toContain(vni);
    expect(line).toMatch(/16[,_]?777[,_]?215/);
  });

  it('a VNI that another network has', async () => {
    const { vni } = (await pair.mustVtep('a', 'network', 'inspect', 'tiny', '--json')).json();
    const line = await refused('network', 'create', 'other', '--vni', String(vni));
    expect(line).toContain(String(vni));
    expect(line).toContain('tiny');
  });

  it.each(['10.0.2.0', '10.0.2.0/33', '10.0.2.1/24', '300.0.0.0/24', 'ten/8', '10.0.2.0/31'])(
    'a bad subnet: %s',
    async (subnet) => {
      expect(await refused('network', 'create', 'other', '--subnet', subnet)).toContain(subnet);
    },
  );

  it.each(['02:00:5e', 'zz:00:5e:10:00:01', '01:00:5e:00:00:01', '00:00:00:00:00:00'])('a bad MAC: %s', async (mac) => {
    expect(await attach('--network', 'tiny', '--mac', mac)).toContain(mac);
  });

  it.each(['10.9.0.300', '10.10.0.2', '10.9.0.0', '10.9.0.7', '10.9.0.1'])(
    'an address not to be had: %s',
    async (ip) => {
      expect(await attach('--network', 'tiny', '--ip', ip)).toContain(ip);
    },
  );

  it('a namespace or a process that does not exist', async () => {
    expect(await refused('attach', '--network', 'tiny', '--netns', 'no-such-ns')).toContain('no-such-ns');
    expect(await refused('attach', '--network', 'tiny', '--pid', '4194304')).toContain('4194304');
  });

  it('neither or both of --netns and --pid', async () => {
    expect(await refused('attach', '--network', 'tiny')).toMatch(/netns.*pid/);
    expect(await attach('--network', 'tiny', '--pid', '1')).toMatch(/netns.*pid/);
  });

  it('no half-made thing after a refusal', async () => {
    const links = (await pair.mustExec('free', 'ip', '-json', 'link')).json();
    expect(links).toHaveLength(1);
    expect((await pair.mustVtep('a', 'endpoint', 'ls', '--json')).json()).toEqual([]);
    expect((await pair.mustVtep('a', 'network', 'ls', '--json')).json()).toHaveLength(1);
  });

  it('an address that another container has, and a pool that is full', async () => {
    // A /29 has six host addresses, of which the gateway takes one.
    for (let i = 1; i <= 5; i++) await pair.addContainer('a', `c${i}`, 'tiny');
    expect(await attach('--network', 'tiny', '--ip', '10.9.0.2')).toContain('10.9.0.2');
    const full = await attach('--network', 'tiny');
    expect(full).toContain('tiny');
    expect(full).toContain('10.9.0.0/29');
  });

  it('no daemon behind the socket', async () => {
    const { exitCode, stderr } = await execa(process.execPath, [CLI, '--socket', '/nonexistent/vtep.sock', 'status'], {
      reject: false,
    });
    expect(exitCode).toBeGreaterThan(0);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(stderr).toContain('/nonexistent/vtep.sock');
  });

  it('a command or an option that does not exist', async () => {
    expect((await pair.vtep('a', 'netwrok', 'ls')).stderr).toContain('netwrok');
    expect((await pair.vtep('a', 'network', 'ls', '--colour')).stderr).toContain('--colour');
  });
});
