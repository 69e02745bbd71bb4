/**
 * What is on the underlay, captured there and decoded by tshark, which shares no code with vtep: VXLAN with the I flag
 * and nothing else, the network's VNI, port 4789, and inner headers whose checksums are right, though the containers'
 * kernels left them to the TAP.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Container,
  createHostPair,
  type HostPair,
  run,
  UNDERLAY,
  UNDERLAY_ADDRESS,
  waitFor,
} from './host-pair.js';

const VNI = 0xabcdef;
const GOOD = '1';
const CHECKSUMS = ['ip', 'tcp', 'udp'].flatMap((name) => ['-o', `${name}.check_checksum:TRUE`]);
const MASTER6 = 'fd00::2';
const SLAVER6 = 'fd00::3';
let pair: HostPair;
let capture: string;
let master: Container;
let slaver: Container;

/** One row per matching packet, one list per field: the values from the outermost header to the innermost. */
async function decode(filter: string, ...fields: string[]): Promise<string[][][]> {
  const wanted = fields.flatMap((field) => ['-e', field]);
  const format = ['-T', 'fields', '-E', 'separator=|', '-E', 'occurrence=a', '-E', 'aggregator=,'];
  const { stdout, stderr, exitCode } = await run(
    'tshark',
    ['-n', '-r', capture, ...CHECKSUMS, '-Y', filter, ...format, ...wanted],
    60_000,
  );
  if (exitCode !== 0) throw new Error(`tshark: ${stderr}`);
  const rows = stdout.split('\n').filter((line) => line !== '');
  return rows.map((line) => line.split('|').map((field) => field.split(',').filter((value) => value !== '')));
}

beforeAll(async () => {
  pair = await createHostPair();
  capture = join(pair.folder, 'underlay.pcap');
  // The IPv6 addresses below are not vtep's.
  await pair.mustVtep('a', 'network', 'create', 'my_overlay', '--vni', String(VNI), '--port-security', 'off');
  master = await pair.addContainer('a', 'master', 'my_overlay');
  slaver = await pair.addContainer('b', 'slaver', 'my_overlay');
  await pair.waitConverged('my_overlay');
  await pair.mustExec('master', 'ip', 'addr', 'add', `${MASTER6}/64`, 'dev', master.interface, 'nodad');
  await pair.mustExec('slaver', 'ip', 'addr', 'add', `${SLAVER6}/64`, 'dev', slaver.interface, 'nodad');

  const dumpArgs = ['-i', UNDERLAY, '-U', '--immediate-mode', '-s', '0', '-Z', 'root', '-w', capture, 'not', 'tcp'];
  const dump = pair.spawn('dump', pair.netns('a'), 'tcpdump', ...dumpArgs);
  await waitFor('tcpdump', () => pair.log('dump').includes('listening on'));
  for (const name of ['master', 'slaver']) await pair.exec(name, 'ip', 'neigh', 'flush', 'dev', 'eth0');
  await pair.ping('master', slaver.ip);
  await pair.ping('master', SLAVER6);
  await pair.ping('slaver', '10.0.0.99', { count: 1, args: ['-W', '1'] });
  for (const [from, to, addresses] of [
    ['master', 'slaver', [slaver.ip, SLAVER6]],
    ['slaver', 'master', [master.ip, MASTER6]],
  ] as const) {
    for (const address of addresses) {
      for (const byteCount of [1, 100, 60_001]) {
        await pair.transfer(from, to, address, 'tcp', byteCount);
        await pair.transfer(from, to, address, 'udp', byteCount, 1111);
      }
    }
  }
  await sleep(300);
  const ended = new Promise((resolve) => dump.once('exit', resolve));
  dump.kill('SIGINT');
  await ended;
});
afterAll(async () => {
  await pair?.cleanup();
});

/** wire/group-probe.ts: what vtepds tell each other of multicast has the O bit too, and never a frame in it. */
const OAM = { flags: '0x0900', udpBytes: '32' };

it('puts the I flag, the VNI and port 4789 on every datagram, and nothing else on the wire to that port', async () => {
  const all = await decode('vxlan', 'vxlan.flags', 'vxlan.vni', 'udp.dstport', 'ip.src', 'ip.dst', 'udp.length');
  const rows = all.filter(([flags]) => flags?.[0] !== OAM.flags);
  const told = all.filter(([flags]) => flags?.[0] === OAM.flags);
  expect(told.map(([, , , , , bytes]) => bytes?.[0])).toEqual(told.map(() => OAM.udpBytes));
  expect(told.length).toBeLessThan(20);
  expect(rows.length).toBeGreaterThan(200);
  for (const [flags, vni, ports, from, to] of rows) {
    expect([flags, vni, ports?.[0]]).toEqual([['0x0800'], [String(VNI)], '4789']);
    expect([from?.[0], to?.[0]].sort()).toEqual([UNDERLAY_ADDRESS.a, UNDERLAY_ADDRESS.b]);
  }
  expect(new Set(rows.map(([, , , from]) => from?.[0]))).toEqual(new Set(Object.values(UNDERLAY_ADDRESS)));
  expect(await decode('udp.dstport == 4789 and not vxlan', 'frame.number')).toEqual([]);
  expect(await decode('vxlan and _ws.malformed', 'frame.number')).toEqual([]);
});

it('leaves the reserved fields zero', async () => {
  for (const [reserved16, reserved8] of await decode('vxlan', 'vxlan.gbp', 'vxlan.reserved8')) {
    expect(reserved16?.map(Number) ?? []).toEqual([0]);
    expect(reserved8?.map(Number) ?? []).toEqual([0]);
  }
});

it('varies the source port by flow, inside 49152 to 65535 (RFC 7348 section 5)', async () => {
  const ports = (await decode('vxlan', 'udp.srcport')).map(([port]) => Number(port?.[0]));
  expect(Math.min(...ports)).toBeGreaterThanOrEqual(49_152);
  expect(new Set(ports).size).toBeGreaterThan(3);
});

it('carries the frames of the containers with their own MACs', async () => {
  const pairs = (await decode('vxlan and icmp', 'eth.src', 'eth.dst')).map(([from, to]) => `${from?.[1]} ${to?.[1]}`);
  expect(new Set(pairs)).toEqual(new Set([`${master.mac} ${slaver.mac}`, `${slaver.mac} ${master.mac}`]));
});

it('floods ARP for an address that nobody has, as a broadcast', async () => {
  const rows = await decode('vxlan and arp.dst.proto_ipv4 == 10.0.0.99', 'eth.dst', 'arp.src.hw_mac', 'arp.opcode');
  expect(rows.length).toBeGreaterThan(0);
  for (const [to, sender, opcode] of rows) {
    expect([to?.[1], sender, opcode]).toEqual(['ff:ff:ff:ff:ff:ff', [slaver.mac], ['1']]);
  }
});

describe('inner checksums', () => {
  it.each([
    ['IPv4 header', 'vxlan and ip.version == 4 and (tcp or icmp)', 'ip.checksum.status', 2],
    ['ICMP', 'vxlan and icmp', 'icmp.checksum.status', 1],
    ['ICMPv6', 'vxlan and icmpv6', 'icmpv6.checksum.status', 1],
    ['TCP over IPv4', 'vxlan and tcp and not ipv6', 'tcp.checksum.status', 1],
    ['TCP over IPv6', 'vxlan and tcp and ipv6', 'tcp.checksum.status', 1],
    ['UDP over IPv4', 'vxlan and udp.port == 7007 and not ipv6', 'udp.checksum.status', 2],
    ['UDP over IPv6', 'vxlan and udp.port == 7007 and ipv6', 'udp.checksum.status', 2],
  ])('%s', async (_title, filter, field, depthMin) => {
    const rows = await decode(filter, 'frame.number', field);
    expect(rows.length).toBeGreaterThanOrEqual(10);
    const bad = rows.filter(([, status]) => status === undefined || status.length === 0 || status.at(-1) !== GOOD);
    expect(bad.slice(0, 5)).toEqual([]);
    // IPv6 inside has one IPv4 header fewer; every other row has all headers checked.
    if (!filter.includes('ip.version')) for (const [, status] of rows) expect(status).toHaveLength(depthMin);
  });
});
