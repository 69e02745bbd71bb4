/** The commands of `vtep`, run in this process against the real API server over a fake host. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { runCli } from '../../src/cli/program.js';
import { type Api, startApi } from '../../src/control/api/server.js';
import { VtepError } from '../../src/control/errors.js';
import { createLogger } from '../../src/control/log.js';
import { ENDPOINT, FakeHost, NETWORK, STATUS } from '../control/fake-host.js';

const directory = mkdtempSync(join(tmpdir(), 'vtep-cli-'));
const socket = join(directory, 'vtepd.sock');
const host = new FakeHost();
let api: Api;

beforeAll(async () => {
  api = await startApi({ host, socketPath: socket, logger: createLogger({ level: 'silent', format: 'json' }) });
});
afterAll(async () => {
  await api.close();
  rmSync(directory, { recursive: true, force: true });
});
beforeEach(() => {
  host.calls.length = 0;
  host.failure = undefined;
});

async function vtep(...argv: string[]) {
  let stdout = '';
  let stderr = '';
  const exitCode = await runCli(argv, {
    env: { VTEP_SOCKET: socket },
    stdout: (text) => {
      stdout += text;
    },
    stderr: (text) => {
      stderr += text;
    },
  });
  return { exitCode, stdout, stderr };
}

/** The command's output, if it did what it should. */
async function done(...argv: string[]): Promise<string> {
  const result = await vtep(...argv);
  expect(result.stderr).toBe('');
  expect(result.exitCode).toBe(0);
  return result.stdout;
}

describe('what the API is asked', () => {
  const attach = ['attach', '--network', 'n'];
  const peer = { network: 'n', address: '192.0.2.9', port: 4789 };
  it.each<[string[], unknown[]]>([
    [
      ['network', 'create', 'n'],
      ['createNetwork', { name: 'n' }],
    ],
    [
      ['network', 'create', 'n', '--subnet', '10.0.2.0/24', '--vni', '5000', '--mtu', '8950', '--no-learning'],
      ['createNetwork', { name: 'n', subnets: ['10.0.2.0/24'], vni: 5000, mtuBytes: 8950, learning: false }],
    ],
    [
      [
        ...['network', 'create', 'n', '--subnet', '10.0.2.0/24', '--subnet', 'fd00:2::/64', '--gateway', '10.0.2.9'],
        ...['--gateway', 'none', '--ip-range', '10.0.2.128/25', '--reserve', '10.0.2.200-10.0.2.210', '--internal'],
      ],
      [
        'createNetwork',
        {
          ...{ name: 'n', subnets: ['10.0.2.0/24', 'fd00:2::/64'], gateways: ['10.0.2.9', 'none'], internal: true },
          ...{ ranges: ['10.0.2.128/25'], reserved: ['10.0.2.200-10.0.2.210'] },
        },
      ],
    ],
    [
      ['network', 'create', 'n', '--ipv6'],
      ['createNetwork', { name: 'n', ipv6: true }],
    ],
    [['network', 'ls'], ['listNetworks']],
    [
      ['network', 'inspect', 'n'],
      ['inspectNetwork', 'n'],
    ],
    [
      ['network', 'rm', 'a'],
      ['removeNetwork', 'a'],
    ],
    [
      ['network', 'rm', '--force', 'a'],
      ['removeNetwork', 'a', true],
    ],
    [
      [...attach, '--netns', 'master'],
      ['attach', { network: 'n', netns: 'master' }],
    ],
    [
      [...attach, '--pid', '7', '--ip', '10.0.0.9', '--mac', '02:AB:00:00:00:01', '--name', 'w', '--interface', 'lan0'],
      ['attach', { network: 'n', pid: 7, ips: ['10.0.0.9'], mac: '02:ab:00:00:00:01', name: 'w', interface: 'lan0' }],
    ],
    [
      [...attach, '--pid', '7', '--ip', '10.0.0.9', '--ip', 'fd00::9'],
      ['attach', { network: 'n', pid: 7, ips: ['10.0.0.9', 'fd00::9'] }],
    ],
    [
      ['detach', '--network', 'n', '--netns', 'x'],
      ['detach', { network: 'n', netns: 'x' }],
    ],
    [
      [
        ...attach,
        '--pid',
        '7',
        '--publish',
        '80:8080',
        '--publish',
        '[2001:db8::1]:53:53/udp',
        '--default-route',
        'no',
      ],
      [
        'attach',
        {
          ...{ network: 'n', pid: 7, defaultRoute: 'no' },
          publish: [
            { protocol: 'tcp', hostPort: 80, containerPort: 8080 },
            { protocol: 'udp', hostAddress: '2001:db8::1', hostPort: 53, containerPort: 53 },
          ],
        },
      ],
    ],
    [
      ['detach', '--network', 'n', '--pid', '7'],
      ['detach', { network: 'n', pid: 7 }],
    ],
    [
      ['detach', '--network', 'n', '--name', 'w'],
      ['detach', { network: 'n', name: 'w' }],
    ],
    [
      ['detach', '--network', 'n', '--id', 'e-1'],
      ['detach', { network: 'n', id: 'e-1' }],
    ],
    [['node', 'ls'], ['listNodes']],
    [
      ['endpoint', 'ls'],
      ['listEndpoints', undefined],
    ],
    [
      ['endpoint', 'ls', '--network', 'n'],
      ['listEndpoints', 'n'],
    ],
    [
      ['peer', 'add', '--network', 'n', '--address', '192.0.2.9'],
      ['addPeer', peer],
    ],
    [
      ['peer', 'add', '--network', 'n', '--address', '2001:DB8:0::7'],
      ['addPeer', { ...peer, address: '2001:db8::7' }],
    ],
    [
      ['peer', 'rm', '--network', 'n', '--address', '192.0.2.9', '--port', '1'],
      ['removePeer', { ...peer, port: 1 }],
    ],
    [
      ['peer', 'ls', '--network', 'n'],
      ['listPeers', 'n'],
    ],
    [['fdb'], ['fdb', undefined]],
    [
      ['fdb', '--network', 'n'],
      ['fdb', 'n'],
    ],
    [
      ['neigh', '--network', 'n'],
      ['neighbours', 'n'],
    ],
    [['status'], ['status']],
  ])('vtep %j', async (argv, call) => {
    expect(await done(...argv)).not.toBe('');
    expect(host.calls).toEqual([call]);
  });
});

describe('what is printed', () => {
  it('network ls', async () => {
    expect(await done('network', 'ls')).toBe(
      'NAME        VNI  SUBNET       GATEWAY   SCOPE\nmy_overlay  256  10.0.0.0/24  10.0.0.1  global\n',
    );
  });

  it('network create and rm', async () => {
    expect(await done('network', 'create', 'n')).toBe(
      'network n created: VNI 256, subnet 10.0.0.0/24, gateway 10.0.0.1\nwarning: subnet 10.0.0.0/24 overlaps\n',
    );
    expect(await done('network', 'rm', 'a', 'b')).toBe('network a removed\nnetwork b removed\n');
  });

  it('network inspect', async () => {
    const text = await done('network', 'inspect', 'n');
    for (const part of [
      '10.0.0.0/24, gateway 10.0.0.1, 3 used, 2 spare, 248 free',
      'vni              256',
      'mtu              from the underlay',
      'bridge vtb-100',
      '192.0.2.9:4789',
      'e-1',
    ]) {
      expect(text).toContain(part);
    }
  });

  it('attach and detach', async () => {
    expect(await done('attach', '--network', 'my_overlay', '--netns', 'master')).toBe(
      'attached to my_overlay: eth0 in netns:master: 10.0.0.2/24, MAC 02:00:5e:10:00:01, endpoint e-1\n',
    );
    expect(await done('detach', '--network', 'my_overlay', '--netns', 'master')).toBe(
      'detached from my_overlay: 10.0.0.2/24, endpoint e-1\n',
    );
  });

  it('endpoint ls: control characters from another host are made harmless', async () => {
    const rows = (await done('endpoint', 'ls')).split('\n');
    expect(rows[0]).toMatch(/^NETWORK +NAME +ADDRESS +MAC +NODE +HERE +ID$/);
    expect(rows[1]).toMatch(/^my_overlay +master +10\.0\.0\.2\/24 +02:00:5e:10:00:01 +cdh1 +netns:master eth0 +e-1$/);
    expect(rows[2]).toMatch(/^my_overlay +sla\?\[2Jver +10\.0\.0\.3\/24 +02:00:5e:10:00:02 +cdh2 +- +e-2$/);
  });

  it('node ls, peer ls, fdb, neigh', async () => {
    expect(await done('node', 'ls')).toBe(
      'NAME  VTEP            SELF\ncdh1  192.0.2.1:4789  *\ncdh2  192.0.2.2:4789\n',
    );
    expect(await done('peer', 'ls')).toBe('NETWORK     ADDRESS    PORT\nmy_overlay  192.0.2.9  8472\n');
    const fdb = (await done('fdb')).split('\n');
    expect(fdb[1]).toMatch(/^my_overlay +256 +02:00:5e:10:00:01 +local +- +-$/);
    expect(fdb[2]).toMatch(/^my_overlay +256 +02:00:5e:10:00:02 +dynamic +192\.0\.2\.2:4789 +1m 5s$/);
    const neighbours = (await done('neigh')).split('\n');
    expect(neighbours[1]).toMatch(/^my_overlay +10\.0\.0\.1 +02:76:74:00:01:00 +gateway +- +-$/);
    expect(neighbours[2]).toMatch(/^my_overlay +10\.0\.0\.3 +02:00:5e:10:00:02 +remote +cdh2 +192\.0\.2\.2:4789$/);
  });

  it('status, and status --drops', async () => {
    const text = await done('status');
    expect(text).toMatch(/^node +cdh1$/m);
    expect(text).toMatch(/^up +1h 2m 5s$/m);
    expect(text).toMatch(
      /^registry +http:\/\/192\.0\.2\.1:8500, NOT connected, last answer 1m 1s ago: connection refused$/m,
    );
    expect(text).toMatch(
      /^offloads +tap-tso, underlay-gso \(refused 12 times by the route to 192\.0\.2\.2\); off: simd-checksum; unsupported: tap-uso \(TUNSETOFFLOAD: EINVAL\)$/m,
    );
    expect(text).toMatch(/^dns +names of 1 network served; blue waits for 10\.0\.1\.1 \(bind EADDRNOTAVAIL\)$/m);
    expect(text).toMatch(/^drops +8 \(vtep status --drops\)$/m);
    expect(text).toMatch(/^tapRxFrames +7$/m);
    expect(text).not.toContain('idle');
    expect(text).toMatch(/^port security +unsupported, 1 port NOT secured: nft is not installed$/m);
    const [byCause, byNetwork, byPort, byVtep] = (await done('status', '--drops')).split('\n\n');
    expect(byCause).toBe('CAUSE       FRAMES\nbadHeader   5\nunknownVni  3');
    expect(byNetwork?.split('\n')[1]).toMatch(/^my_overlay +badHeader +4$/);
    expect(byVtep?.trim().split('\n')[1]).toMatch(/^192\.0\.2\.2 +rx_drops +6$/);
    expect(byPort?.split('\n')[1]).toMatch(/^my_overlay +master +vtv-e1 +source_mac +2$/);
  });

  it('--json prints what the API answered, wherever it stands', async () => {
    expect(JSON.parse(await done('network', 'ls', '--json'))).toEqual([NETWORK]);
    expect(JSON.parse(await done('--json', 'network', 'ls'))).toEqual([NETWORK]);
    expect(JSON.parse(await done('status', '--json'))).toEqual(STATUS);
    expect(JSON.parse(await done('attach', '--network', 'n', '--pid', '1', '--json'))).toEqual(ENDPOINT);
    expect(JSON.parse(await done('network', 'rm', 'a', '--json'))).toEqual({ removed: ['a'] });
    for (const command of [
      ['network', 'inspect', 'n'],
      ['endpoint', 'ls'],
      ['node', 'ls'],
      ['peer', 'ls'],
      ['fdb'],
      ['neigh'],
    ]) {
      expect(await done(...command, '--json')).toMatch(/^[[{]\n {2}/);
    }
  });

  it('--socket beats VTEP_SOCKET', async () => {
    const { exitCode, stderr } = await vtep('status', '--socket', join(directory, 'other.sock'));
    expect(exitCode).toBe(1);
    expect(stderr).toContain('other.sock');
  });
});

describe('failures: one line, and the exit code', () => {
  async function refused(exitCode: number, ...argv: string[]): Promise<string> {
    const result = await vtep(...argv);
    expect(result.stderr).toMatch(/^vtep: [^\n]+\n$/);
    expect(result.stdout).toBe('');
    expect(result.exitCode).toBe(exitCode);
    return result.stderr.slice('vtep: '.length).trimEnd();
  }

  const attach = ['attach', '--network', 'n', '--netns', 'x'];
  it.each<[string[], string]>([
    [['network', 'create', 'a/b'], 'network name: "a/b" must be 1 to 63 letters'],
    [['network', 'create', 'n', '--vni', '0'], '--vni: 0 must be a whole number from 1 to 16777215'],
    [['network', 'create', 'n', '--vni', '16777216'], '--vni: 16777216 must be'],
    [['network', 'create', 'n', '--vni=-1'], '--vni: "-1" must be'],
    [['network', 'create', 'n', '--vni', 'abc'], '--vni: "abc" must be'],
    [['network', 'create', 'n', '--mtu', '99'], '--mtu: 99 must be a whole number of bytes from 576'],
    [['network', 'create', 'n', '--subnet', '10.0.0.0/33'], '--subnet: "10.0.0.0/33" must be a network in CIDR form'],
    [['network', 'rm', 'a b'], 'network name: "a b" must be'],
    [['network', 'inspect', '..%2f'], 'network name: "..%2f" must be'],
    [[...attach, '--ip', '10.0.0.3', '--ip', '10.0.0.4'], '--ip: ["10.0.0.3","10.0.0.4"] must be at most one address'],
    [[...attach, '--ip', '10.0.0.300'], '--ip: "10.0.0.300" must be an IPv4 or IPv6 address'],
    [[...attach, '--mac', '01:00:5e:00:00:01'], '--mac: "01:00:5e:00:00:01" must be a unicast address'],
    [[...attach, '--publish', '80'], '--publish: "80" must be [ADDRESS:]HOST-PORT:CONTAINER-PORT'],
    [[...attach, '--default-route', 'maybe'], '--default-route: "maybe" must be yes, no or auto'],
    [[...attach, '--mac', '02:76:74:00:00:01'], '--mac: "02:76:74:00:00:01" must not begin with 02:76:74'],
    [[...attach, '--pid', '7'], 'give one of --netns and --pid'],
    [['attach', '--network', 'n'], 'give one of --netns and --pid'],
    [['attach', '--network', 'n', '--pid', 'x'], '--pid: "x" must be a process id'],
    [['attach', '--netns', 'x'], "required option '--network <name>' not specified"],
    [['detach', '--network', 'n'], 'give one of --netns, --pid, --id, --name and --owner'],
    [['peer', 'add', '--network', 'n', '--address', 'x'], '--address: "x" must be an IPv4 or IPv6 address'],
    [['peer', 'add', '--network', 'n', '--address', '192.0.2.1', '--port', '0'], '--port: 0 must be a UDP port'],
    [['fdb', '--network', '-x'], '--network: "-x" must be'],
    [['netwrok', 'ls'], "unknown command 'netwrok' (Did you mean network?); see vtep --help"],
    [['network', 'list'], "unknown command 'list'"],
    [['network'], 'the command is not complete; see vtep network --help'],
    [['network', 'ls', '--colour'], "unknown option '--colour'; see vtep network --help"],
    [['network', 'create'], "missing required argument 'name'"],
    [['network', 'ls', 'extra'], 'too many arguments'],
    [['status', '--socket'], "option '--socket <path>' argument missing"],
  ])('wrong input, exit 2: vtep %j', async (argv, message) => {
    expect(await refused(2, ...argv)).toContain(message);
    expect(host.calls).toEqual([]);
  });

  it('what vtepd refuses: 2 for wrong input, else 1', async () => {
    host.failure = new VtepError('VTEP_ERR_INVALID', 'subnet: "10.0.0.1/24" has host bits set');
    expect(await refused(2, 'network', 'create', 'n')).toBe('subnet: "10.0.0.1/24" has host bits set');
    host.failure = new VtepError('VTEP_ERR_NETWORK_EXISTS', 'network "n" exists');
    expect(await refused(1, 'network', 'create', 'n')).toBe('network "n" exists');
    host.failure = new Error('a defect\nin two lines');
    expect(await refused(1, 'network', 'ls')).toContain('a defect in two lines');
  });

  it('network rm goes on after a failure, and ends with it', async () => {
    expect(await vtep('network', 'rm', 'a', 'nowhere', 'b')).toEqual({
      exitCode: 1,
      stdout: 'network a removed\nnetwork b removed\n',
      stderr: 'vtep: network "nowhere" does not exist\n',
    });
  });

  it('no vtepd', async () => {
    const missing = await refused(1, 'status', '--socket', join(directory, 'none.sock'));
    expect(missing).toContain(
      `vtepd is not reachable on ${join(directory, 'none.sock')}: there is no such socket; start it with`,
    );
    writeFileSync(join(directory, 'file'), '');
    expect(await refused(1, 'status', '--socket', join(directory, 'file'))).toContain('vtepd is not reachable');
    expect(await refused(1, 'status', '--socket', `/${'x'.repeat(200)}`)).toContain('vtepd is not reachable');
  });

  describe('something else behind the socket', () => {
    let answer: { status: number; body: string } | undefined;
    let server: Server;
    const other = join(directory, 'else.sock');
    beforeAll(async () => {
      server = createServer((request, response) => {
        if (answer === undefined) request.socket.destroy();
        else response.writeHead(answer.status).end(answer.body);
      }).listen(other);
      await new Promise((resolve) => server.once('listening', resolve));
    });
    afterAll(() => server.close());

    it.each([
      [{ status: 200, body: '<html>' }, 'the answer (HTTP 200) is not JSON'],
      [{ status: 500, body: '{}' }, 'vtepd answered HTTP 500'],
      [{ status: 200, body: '[{"name":1}]' }, 'the answer makes no sense at "0.name"'],
      [{ status: 409, body: '{"error":{"code":"VTEP_ERR_NEW","message":"later","retryable":false}}' }, 'later'],
      [undefined, 'vtepd is not reachable'],
    ])('%j', async (given, message) => {
      answer = given;
      expect(await refused(1, 'network', 'ls', '--socket', other)).toContain(message);
    });
  });
});

describe('help', () => {
  const commands = [
    [],
    ['network'],
    ...['create', 'ls', 'inspect', 'rm'].map((name) => ['network', name]),
    ['attach'],
    ['detach'],
    ['endpoint'],
    ['endpoint', 'ls'],
    ['node'],
    ['node', 'ls'],
    ['peer'],
    ...['add', 'ls', 'rm'].map((name) => ['peer', name]),
    ['fdb'],
    ['neigh'],
    ['status'],
  ];
  it.each(commands.map((command) => [command]))(
    'vtep %j --help has examples and the global options',
    async (command) => {
      const text = await done(...command, '--help');
      expect(text).toContain(['Usage: vtep', ...command].join(' '));
      expect(text).toMatch(/Examples:\n {2}vtep /);
      expect(text).toContain('--socket <path>');
      expect(text).toContain('--json');
    },
  );

  it('vtep alone is help, --version the version', async () => {
    expect(await done()).toContain('Usage: vtep');
    expect(await done('--version')).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});
