/** vtepd's options: where they come from, who wins, and the one line for each wrong value. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { type DaemonConfig, loadConfig } from '../../src/control/config.js';
import { CONFIG_OPTIONS } from '../../src/control/config-options.js';
import { VtepError } from '../../src/control/errors.js';
import { OFFLOAD_NAMES, type OffloadSwitches } from '../../src/control/offload-switches.js';

const OFFLOADS_AUTO = Object.fromEntries(OFFLOAD_NAMES.map((name) => [name, 'auto'])) as OffloadSwitches;
const directory = mkdtempSync(join(tmpdir(), 'vtep-config-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

let printed = '';
function load(argv: string[], env: Record<string, string> = {}, stderrIsTty = false): DaemonConfig | undefined {
  printed = '';
  return loadConfig({
    argv,
    env,
    stderrIsTty,
    print: (text) => {
      printed += text;
    },
  });
}

function file(text: string): string {
  const path = join(directory, 'vtep.yaml');
  writeFileSync(path, text);
  return path;
}

const LEAST = ['--registry', 'http://192.0.2.1:8500', '--underlay', 'eth0'];

function refusal(argv: string[], env: Record<string, string> = {}): string {
  try {
    load(argv, env);
  } catch (error) {
    expect(error).toBeInstanceOf(VtepError);
    expect(error).toMatchObject({ code: 'VTEP_ERR_INVALID' });
    expect((error as VtepError).message).not.toContain('\n');
    return (error as VtepError).message;
  }
  throw new Error(`accepted: ${argv.join(' ')}`);
}

describe('values', () => {
  it('defaults', () => {
    expect(load(LEAST)).toEqual({
      registryUrls: ['http://192.0.2.1:8500'],
      underlay: 'eth0',
      underlayFamily: 'auto',
      port: 4789,
      node: hostname(),
      socketPath: '/run/vtep/vtepd.sock',
      stateDirectory: '/var/lib/vtep',
      sessionTtlSeconds: 20,
      reapAfterSeconds: 60,
      defaultPools: [
        { family: 4, cidr: '10.0.0.0/8', prefixLength: 24 },
        { family: 6, cidr: 'fd76:7465:7000::/48', prefixLength: 64 },
      ],
      workers: 1,
      spareAddresses: 2,
      fdbEntries: 100_000,
      sourcePorts: { first: 49_152, last: 65_535 },
      spinMicroseconds: 0,
      workerNice: 0,
      multicastHops: 1,
      multicastFrom: 3,
      queryIntervalSeconds: 125,
      offloads: OFFLOADS_AUTO,
      outer: { tos: 0, ttl: 0, df: 'unset', checksum: true, acceptZeroChecksum6: false },
      dns: true,
      dockerApi: '/run/docker.sock',
      dockerScope: 'local',
      logLevel: 'info',
      logFormat: 'json',
    });
  });

  it('everything, from the flags', () => {
    const argv = [
      ...['--registry', 'https://consul.example:8501', '--embedded-registry', '127.0.0.1:8500'],
      ...['--advertise', '192.0.2.7'],
      ...['--underlay', 'eth1', '--port', '8472', '--node', 'cdh1', '--socket', '/tmp/v.sock'],
      ...['--state-dir', '/tmp/state'],
      ...['--advertise', '2001:DB8:0::7', '--underlay-family', 'both'],
      ...['--spare-addresses', '0', '--reap-after', '90', '--default-pool', '172.16.0.0/12/20'],
      ...['--session-ttl', '3600', '--workers', '16', '--token', 's3cret', '--datacenter', 'dc1'],
      ...['--fdb-entries', '4000000', '--source-ports', '1024-1151', '--spin-us', '0', '--worker-nice', '5'],
      ...['--multicast-ttl', '8', '--multicast-from', '2', '--query-interval', '60'],
      ...['--outer-tos', 'inherit', '--outer-ttl', '12', '--outer-df', 'inherit', '--outer-checksum', 'off'],
      ...['--accept-zero-checksum6', 'on'],
      ...['--offload-tap-uso', 'off', '--dns', 'off', '--dns-upstream', '192.0.2.53, 2001:db8::53'],
      ...['--docker-api', '/var/run/docker.sock'],
      ...['--docker-plugin', 'on', '--docker-scope', 'global'],
      ...['--registry-prefix', '/lab/vtep/', '--log-level', 'debug', '--log-format', 'text'],
    ];
    expect(load(argv)).toEqual({
      registryUrls: ['https://consul.example:8501'],
      embeddedRegistry: '127.0.0.1:8500',
      underlay: 'eth1',
      advertise: ['192.0.2.7', '2001:db8::7'],
      underlayFamily: 'both',
      port: 8472,
      node: 'cdh1',
      socketPath: '/tmp/v.sock',
      stateDirectory: '/tmp/state',
      sessionTtlSeconds: 3600,
      reapAfterSeconds: 90,
      defaultPools: [
        { family: 4, cidr: '172.16.0.0/12', prefixLength: 20 },
        { family: 6, cidr: 'fd76:7465:7000::/48', prefixLength: 64 },
      ],
      workers: 16,
      spareAddresses: 0,
      fdbEntries: 4_000_000,
      sourcePorts: { first: 1024, last: 1151 },
      spinMicroseconds: 0,
      workerNice: 5,
      multicastHops: 8,
      multicastFrom: 2,
      queryIntervalSeconds: 60,
      offloads: { ...OFFLOADS_AUTO, 'tap-uso': 'off' },
      outer: { tos: 'inherit', ttl: 12, df: 'inherit', checksum: false, acceptZeroChecksum6: true },
      dns: false,
      dnsUpstream: ['192.0.2.53', '2001:db8::53'],
      dockerApi: '/var/run/docker.sock',
      dockerPlugin: '/run/docker/plugins/vtep.sock',
      dockerScope: 'global',
      token: 's3cret',
      datacenter: 'dc1',
      registryPrefix: 'lab/vtep/',
      logLevel: 'debug',
      logFormat: 'text',
    });
  });

  it('a flag beats the environment, which beats the file', () => {
    const path = file('registry: http://file:1\nunderlay: eth0\nport: 1001\nsessionTtl: 21\nstate-dir: /file\n');
    const env = { VTEP_PORT: '1002', VTEP_SESSION_TTL: '22', VTEP_STATE_DIR: '' };
    expect(load(['--config', path, '--port', '1003'], env)).toMatchObject({
      registryUrls: ['http://file:1'],
      port: 1003,
      sessionTtlSeconds: 22,
      stateDirectory: '/file',
    });
  });

  it('every option is read from the environment and from the file, in both spellings', () => {
    const samples: Record<string, string> = {
      registry: 'https://192.0.2.1:8501,https://192.0.2.2:8501',
      embeddedRegistry: '127.0.0.1:8500',
      underlay: 'eth0',
      advertise: '192.0.2.7,2001:db8::7',
      underlayFamily: 'both',
      port: '8472',
      node: 'cdh1',
      socket: '/tmp/v.sock',
      stateDir: '/tmp/state',
      sessionTtl: '20',
      reapAfter: '10',
      defaultPool: '172.16.0.0/12/20,fd00::/32/64',
      workers: '2',
      spareAddresses: '3',
      fdbEntries: '1000',
      sourcePorts: '50000-50999',
      spinUs: '1000',
      workerNice: '-20',
      multicastTtl: '255',
      multicastFrom: '4094',
      queryInterval: '3600',
      outerTos: '0xb8',
      outerTtl: '64',
      outerDf: 'set',
      outerChecksum: 'off',
      acceptZeroChecksum6: 'on',
      offloadTapTso: 'off',
      offloadTapUso: 'auto',
      offloadUnderlayGso: 'off',
      offloadUnderlayGro: 'off',
      offloadCoalesceTcp: 'off',
      offloadCoalesceUdp: 'off',
      offloadSimdChecksum: 'off',
      dns: 'off',
      dnsUpstream: '192.0.2.53',
      dockerApi: '/tmp/docker.sock',
      dockerPlugin: '/run/docker/plugins/vtep.sock',
      dockerScope: 'global',
      token: '0123',
      registryTokenFile: '/run/token',
      registryCa: '/tmp/ca.pem',
      registryCert: '/tmp/host.pem',
      registryKey: '/tmp/host.key',
      datacenter: 'dc1',
      registryNamespace: 'lab',
      registryPartition: 'east',
      registryPrefix: 'lab/',
      logLevel: 'warn',
      logFormat: 'text',
    };
    expect(CONFIG_OPTIONS.map((o) => o.key).sort()).toEqual(Object.keys(samples).sort());
    // It excludes --token; below it has a test of its own.
    const options = CONFIG_OPTIONS.filter((o) => o.key !== 'registryTokenFile');
    const flags = options.flatMap((o) => [`--${o.name}`, samples[o.key] ?? '']);
    const expected = load(flags);
    expect(expected?.token).toBe('0123');
    expect(load([], Object.fromEntries(options.map((o) => [o.env, samples[o.key] ?? ''])))).toEqual(expected);
    const yaml = (spelling: 'key' | 'name') => options.map((o) => `${o[spelling]}: ${samples[o.key]}\n`).join('');
    expect(load(['--config', file(yaml('key'))])).toEqual(expected);
    expect(load([], { VTEP_CONFIG: file(yaml('name')) })).toEqual(expected);
  });

  it.each([
    ['10.30.10.111:8500', 'http://10.30.10.111:8500'],
    ['10.30.10.111', 'http://10.30.10.111:8500'],
    ['consul', 'http://consul:8500'],
    ['consul:80', 'http://consul'],
    ['http://consul', 'http://consul'],
    ['http://consul:8500/', 'http://consul:8500'],
    ['https://consul:8501', 'https://consul:8501'],
    ['http://[::1]:8500', 'http://[::1]:8500'],
  ])('--registry %s is %s', (given, expected) => {
    expect(load(['--registry', given, '--underlay', 'eth0'])?.registryUrls).toEqual([expected]);
  });

  it('several registries are given with commas, one by one, or as a list in the file', () => {
    const expected = ['http://c1:8500', 'http://c2:8500', 'http://c3:8501'];
    const rest = ['--underlay', 'eth0'];
    expect(load(['--registry', 'c1, c2:8500,http://c3:8501,c1', ...rest])?.registryUrls).toEqual(expected);
    expect(load(['--registry', 'c1', '--registry', 'c2,c3:8501', ...rest])?.registryUrls).toEqual(expected);
    expect(load(rest, { VTEP_REGISTRY: 'c1,c2,c3:8501' })?.registryUrls).toEqual(expected);
    const path = file('registry:\n  - c1\n  - c2\n  - http://c3:8501\n');
    expect(load([...rest, '--config', path])?.registryUrls).toEqual(expected);
  });

  it('the token comes from one place', () => {
    expect(load([...LEAST, '--registry-token-file', '/run/token'])?.registryTokenFile).toBe('/run/token');
    const line = refusal([...LEAST, '--registry-token-file', '/run/token', '--token', 'hush']);
    expect(line).toBe('--token and --registry-token-file are both given: give one of them');
  });

  it('files for TLS belong to an https registry', () => {
    expect(refusal([...LEAST, '--registry-cert', '/run/a.pem'])).toContain(
      '--registry-cert is given for a registry without',
    );
  });

  it('the log is text on a terminal, unless told otherwise', () => {
    expect(load(LEAST, {}, true)?.logFormat).toBe('text');
    expect(load([...LEAST, '--log-format', 'json'], {}, true)?.logFormat).toBe('json');
  });

  it('an empty file is no mistake', () => {
    for (const text of ['', '# nothing\n', '---\n']) expect(load([...LEAST, '--config', file(text)])?.port).toBe(4789);
  });
});

describe('help and version', () => {
  it('--help names every option and has examples', () => {
    expect(load(['--help'])).toBeUndefined();
    for (const { name } of CONFIG_OPTIONS) expect(printed).toContain(`--${name} `);
    expect(printed).toContain('Examples:');
    expect(printed).toContain('vtepd --registry http://10.30.10.111:8500 --underlay eth0');
  });

  it('--version', () => {
    expect(load(['--version'])).toBeUndefined();
    expect(printed).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe('wrong values: one line that names the option, the value and what would be right', () => {
  const socketTooLong = `/${'x'.repeat(107)}`;
  it.each<[string, string, string]>([
    ['--registry', 'ftp://x:1', 'http or https'],
    ['--registry', 'http://x:99999', 'must be the URL of a Consul server'],
    ['--registry', 'http://x/v1/kv', 'without a path'],
    ['--registry', 'http://u:p@x', '--token'],
    ['--registry', 'http://x:1,', 'must be the URL'],
    ['--registry', 'http://x:1,https://y:1', 'must be all http:// or all https://'],
    ['--registry-ca', '/tmp/', 'must be the path of a file'],
    ['--registry-namespace', 'a b', 'must be at most 64 letters'],
    ['--registry', '', 'must be the URL'],
    ['--registry', ':8500', 'must be the URL'],
    ['--embedded-registry', '8500', 'must be HOST:PORT'],
    ['--embedded-registry', '300.0.0.1:8500', 'must be HOST:PORT'],
    ['--embedded-registry', '127.0.0.1:70000', 'must be HOST:PORT'],
    ['--embedded-registry', '[127.0.0.1]:80', 'must be HOST:PORT'],
    ['--underlay', 'an-interface-name-too-long', 'name of a network interface'],
    ['--underlay', 'a/b', 'name of a network interface'],
    ['--advertise', '10.0.0.300', 'must be an IPv4 or IPv6 address'],
    ['--advertise', '0.0.0.0', 'must be the unicast address of one VTEP'],
    ['--advertise', '239.0.0.1', 'must be the unicast address of one VTEP'],
    ['--advertise', 'ff02::1', 'must be the unicast address of one VTEP'],
    ['--advertise', 'fe80::1', 'must not be link-local'],
    ['--advertise', '192.0.2.7,192.0.2.8', 'must be at most one address of each family'],
    ['--advertise', '2001:db8::1,2001:db8::2', 'must be at most one address of each family'],
    ['--underlay-family', 'ipv5', 'must be one of auto, ipv4, ipv6, both'],
    ['--port', '0', 'from 1 to 65535'],
    ['--port', '65536', 'from 1 to 65535'],
    ['--port', '-1', 'from 1 to 65535'],
    ['--port', '4789x', 'from 1 to 65535'],
    ['--port', '0x12', 'from 1 to 65535'],
    ['--port', '', 'from 1 to 65535'],
    ['--node', 'a b', 'must be 1 to 63 letters'],
    ['--node', 'n'.repeat(64), 'must be 1 to 63 letters'],
    ['--socket', '/run/', 'path of a socket'],
    ['--socket', socketTooLong, 'at most 107 bytes'],
    ['--state-dir', '', 'path of a directory'],
    ['--session-ttl', '19', 'from 20 to 3600: Consul ends a session at twice its TTL, of which 10 s is the least'],
    ['--session-ttl', '3601', 'from 20 to 3600'],
    ['--session-ttl', '25s', 'from 20 to 3600'],
    ['--reap-after', '9', 'from 10 to 86400'],
    ['--default-pool', '10.0.0.0/8', 'address pool "10.0.0.0/8" does not say'],
    ['--default-pool', '10.0.0.0/8/24,10.0.0.0/24/8', 'is smaller than a /8'],
    ['--workers', '17', 'from 1 to 16'],
    ['--workers', '0', 'from 1 to 16'],
    ['--workers', 'two', 'from 1 to 16'],
    ['--source-ports', '50000', 'must be FIRST-LAST'],
    ['--source-ports', '1023-2000', 'from 1024 to 65535'],
    ['--source-ports', '50000-65536', 'from 1024 to 65535'],
    ['--source-ports', '50001-50000', 'must be FIRST-LAST'],
    ['--source-ports', '50000-50006', 'must hold at least 8 ports'],
    ['--fdb-entries', '999', 'from 1000 to 4000000'],
    ['--fdb-entries', '4000001', 'from 1000 to 4000000'],
    ['--fdb-entries', '1e6', 'from 1000 to 4000000'],
    ['--spin-us', '1001', 'from 0 to 1000'],
    ['--spin-us', '-1', 'from 0 to 1000'],
    ['--spin-us', '5us', 'from 0 to 1000'],
    ['--worker-nice', '-21', 'from -20 to 19'],
    ['--worker-nice', '20', 'from -20 to 19'],
    ['--worker-nice', 'low', 'from -20 to 19'],
    ['--multicast-ttl', '0', 'from 1 to 255'],
    ['--multicast-ttl', '256', 'from 1 to 255'],
    ['--multicast-from', '0', 'from 1 to 4094'],
    ['--query-interval', '1', 'from 2 to 3600'],
    ['--offload-tap-tso', 'on', 'one of auto, off'],
    ['--offload-simd-checksum', '', 'one of auto, off'],
    ['--outer-tos', '256', 'must be 0 to 252 without the two ECN bits'],
    ['--outer-tos', '0xb9', 'without the two ECN bits'],
    ['--outer-tos', 'copy', 'or inherit'],
    ['--outer-ttl', '256', 'from 1 to 255, or auto'],
    ['--outer-ttl', '-1', 'from 1 to 255, or auto'],
    ['--outer-df', 'on', 'one of unset, set, inherit'],
    ['--outer-checksum', 'auto', 'one of on, off'],
    ['--accept-zero-checksum6', 'yes', 'one of on, off'],
    ['--dns', 'yes', 'one of on, off'],
    ['--dns-upstream', 'dns.example', 'must be IP addresses'],
    ['--dns-upstream', '192.0.2.53,', 'must be IP addresses'],
    ['--docker-api', 'x/', 'must be the path of a socket file'],
    ['--docker-plugin', 'plugins/', 'must be the path of a socket file'],
    ['--docker-scope', 'swarm', 'must be one of local, global'],
    ['--datacenter', 'a b', 'must be letters'],
    ['--registry-prefix', 'a//b', 'must be a key prefix'],
    ['--registry-prefix', '/', 'must be a key prefix'],
    ['--log-level', 'loud', 'one of trace, debug, info, warn, error, fatal, silent'],
    ['--log-format', 'xml', 'one of json, text'],
  ])('%s "%s"', (flag, value, rule) => {
    const without = LEAST.filter((word, i) => word !== flag && LEAST[i - 1] !== flag);
    const line = refusal([...without, `${flag}=${value}`]);
    expect(line.startsWith(`${flag} "${value.replace('u:p@', '...@').slice(0, 70)}`), line).toBe(true);
    expect(line).toContain(rule);
    // The same from the environment (where empty is "not given") and from the file, each named as it was given.
    const option = CONFIG_OPTIONS.find((o) => `--${o.name}` === flag);
    if (value !== '') expect(refusal(without, { [option?.env ?? '']: value })).toContain(`${option?.env} "`);
    const path = file(`${option?.name}: "${value}"\n`);
    expect(refusal([...without, '--config', path])).toContain(`"${option?.name}" in "${path}": "`);
  });

  it('the source ports must do for all workers', () => {
    expect(load([...LEAST, '--source-ports', '50000-50007'])?.sourcePorts).toEqual({ first: 50_000, last: 50_007 });
    const two = ['--source-ports', '50000-50014', '--workers', '2'];
    expect(refusal([...LEAST, ...two])).toBe(
      '--source-ports "50000-50014" must hold at least 16 ports: 8 for each worker',
    );
    expect(load([...LEAST, ...two, '--source-ports', '50000-50015'])?.workers).toBe(2);
  });

  it.each([
    ['0', 0],
    ['184', 184],
    ['0xb8', 184],
    ['0xFC', 252],
    ['inherit', 'inherit'],
  ] as const)('--outer-tos %s', (text, tos) => {
    expect(load([...LEAST, '--outer-tos', text])?.outer.tos).toBe(tos);
  });

  it('--outer-ttl auto is the default', () => {
    expect(load([...LEAST, '--outer-ttl', 'auto'])?.outer.ttl).toBe(0);
  });

  it('each offload has a switch of its own', () => {
    for (const name of OFFLOAD_NAMES) {
      expect(load([...LEAST, `--offload-${name}`, 'off'])?.offloads).toEqual({ ...OFFLOADS_AUTO, [name]: 'off' });
    }
  });

  it('the token is not repeated', () => {
    const line = refusal([...LEAST, '--token', 'top secret']);
    expect(line).toBe('--token must be printable ASCII without spaces');
  });

  it.each<[string, string[], string]>([
    ['no registry', ['--underlay', 'eth0'], 'give --registry URL'],
    [
      'another family',
      ['--registry', 'x:1', '--advertise', '192.0.2.7', '--underlay-family', 'ipv6'],
      '--advertise "192.0.2.7" does not fit --underlay-family ipv6: give an IPv6 address, or --underlay-family both',
    ],
    ['no underlay', ['--registry', 'x:1'], 'give --underlay INTERFACE or --advertise IP'],
    ['an unknown option', [...LEAST, '--colour'], "unknown option '--colour'; see vtepd --help"],
    ['a mistyped option', [...LEAST, '--prot', '1'], '--port'],
    ['no value', [...LEAST, '--port'], "option '--port <port>' argument missing"],
    ['an argument', [...LEAST, 'extra'], 'too many arguments'],
    [
      'no such file',
      [...LEAST, '--config', '/nonexistent/vtep.yaml'],
      '--config "/nonexistent/vtep.yaml": can\'t be read (ENOENT)',
    ],
  ])('%s', (_title, argv, expected) => {
    expect(refusal(argv)).toContain(expected);
  });

  it.each<[string, string, string]>([
    ['an unknown key', 'prot: 1', 'unknown key "prot" in'],
    ['an option that only the command line has', 'config: x', 'unknown key "config" in'],
    ['both spellings', 'state-dir: /a\nstateDir: /b', 'give one of them'],
    ['a list for a value', 'port: [1, 2]', '"port" in'],
    ['a map for a value', 'port: {a: 1}', 'must be a single value'],
    ['a list', '- port', 'must hold keys and values'],
    ['text', 'just text', 'must hold keys and values'],
    ['a key twice', 'port: 1\nport: 2', 'is not valid YAML'],
    ['broken YAML', 'port: "1', 'is not valid YAML'],
  ])('in the file: %s', (_title, text, expected) => {
    const line = refusal([...LEAST, '--config', file(text)]);
    expect(line).toContain(expected);
    expect(line).toContain(join(directory, 'vtep.yaml'));
  });
});
