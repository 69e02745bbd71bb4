/**
 * The same frames through the kernel's VXLAN and through vtep, each as sender and as receiver: what is delivered is the same
 * bytes, and what is dropped is dropped for the same cause, or docs/interop.md says why not.
 *
 *              host a                                   host b
 *     kk       kernel vx4201, 192.0.2.65:4790     ->    kernel vx4201, 192.0.2.66:4790
 *     vk       vtepd's TAP, 192.0.2.1:4789        ->    kernel vx4202, 192.0.2.66:4790
 *     kv       kernel vx4203, 192.0.2.65:4790     ->    vtepd's TAP, 192.0.2.2:4789
 *     vv       vtepd's TAP                        ->    vtepd's TAP
 *
 * A VXLAN device and a TAP are the same place on a frame's way: frames go in and come out there by packet sockets, beside
 * the bridge. A kind of frames at a time, so that counters tell its causes.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { callApi } from '../chaos/api-client.js';
import { hex } from '../dataplane/reference/octets.js';
import { createHostPair, type HostName, type HostPair, waitFor } from '../e2e/host-pair.js';
import { DatagramSocket } from './datagram-socket.js';
import { type DatagramKind, isMarked, type Kind, makeDatagrams, makeKinds } from './differential-frames.js';
import { DropTrace } from './drop-trace.js';
import { PacketSocket } from './packet-socket.js';

const SEED = 4789;
/** Where the kernel's reasons can't be read, nothing says that a frame is gone. */
const WAIT_MS = 5000;
const WAIT_UNSEEN_MS = 500;
const KERNEL_PORT = 4790;
const ELSEWHERE = '02:77:00:00:00:01';

const PATHS = ['kk', 'vk', 'kv', 'vv'] as const;
type Path = (typeof PATHS)[number];
const VNI: Record<Path, number> = { kk: 4201, vk: 4202, kv: 4203, vv: 4204 };

/** What the kernel calls vtep's causes. */
const KERNEL_REASONS: Record<string, readonly string[]> = {
  tap_runt: ['pkt_too_small'],
  // A frame without an Ethernet header is what the driver has no memory for, so it says.
  inner_runt: ['pkt_too_small', 'nomem'],
  invalid_hdr: ['pkt_too_small'],
  no_vni_flag: ['vxlan_invalid_hdr'],
  reserved_bits: ['vxlan_invalid_hdr'],
  vni_not_found: ['vxlan_vni_not_found'],
  mac_invalid_source: ['mac_invalid_source'],
  local_mac: ['local_mac'],
  entry_exists: ['vxlan_entry_exists'],
  ecn: ['ip_tunnel_ecn'],
};
const NOT_TRIED = 'not tried';
const DELIVERED = 'delivered';

let pair: HostPair;
let trace: DropTrace;
const ends = {} as Record<Path, { from: PacketSocket; into: PacketSocket; own: Uint8Array }>;

const interfaceOf = (path: Path, host: HostName) =>
  path[host === 'a' ? 0 : 1] === 'k' ? `vx${VNI[path]}` : `vtep-t${VNI[path]}`;

async function index(host: HostName, name: string): Promise<number> {
  return (await pair.mustExec(host, 'ip', '-json', 'link', 'show', 'dev', name)).json()[0].ifindex;
}

async function addKernel(host: HostName, path: Path, local: string, remote: string, port: number): Promise<void> {
  const name = `vx${VNI[path]}`;
  const vxlan = `type vxlan id ${VNI[path]} dstport ${KERNEL_PORT} local ${local} dev ens33`.split(' ');
  await pair.mustExec(host, 'ip', 'link', 'add', name, ...vxlan);
  const everyone = ['00:00:00:00:00:00', 'dev', name, 'dst', remote, 'port', String(port)];
  await pair.mustExec(host, 'bridge', 'fdb', 'append', ...everyone);
  await pair.mustExec(host, 'ip', 'link', 'set', name, 'addrgenmode', 'none', 'mtu', '1450', 'up');
}

beforeAll(async () => {
  trace = new DropTrace();
  pair = await createHostPair();
  await pair.mustExec('a', 'ip', 'addr', 'add', '192.0.2.65/24', 'dev', 'ens33');
  await pair.mustExec('b', 'ip', 'addr', 'add', '192.0.2.66/24', 'dev', 'ens33');
  await Promise.all([
    addKernel('a', 'kk', '192.0.2.65', '192.0.2.66', KERNEL_PORT),
    addKernel('b', 'kk', '192.0.2.66', '192.0.2.65', KERNEL_PORT),
    addKernel('b', 'vk', '192.0.2.66', '192.0.2.1', 4789),
    addKernel('a', 'kv', '192.0.2.65', '192.0.2.2', 4789),
    ...(['vk', 'kv', 'vv'] as const).map((path) => {
      const options = ['--vni', String(VNI[path]), '--subnet', `10.${VNI[path] - 4200}.0.0/24`];
      return pair.mustVtep('a', 'network', 'create', path, ...options);
    }),
  ]);
  const [, , , receiverKv, receiverVv] = await Promise.all([
    pair.addContainer('a', 'box-vk', 'vk'),
    // Behind the other VTEP of its network, for kv: the sender is the kernel's address.
    pair.addContainer('a', 'box-elsewhere', 'kv', '--mac', ELSEWHERE),
    pair.addContainer('a', 'box-va', 'vv'),
    pair.addContainer('b', 'box-kv', 'kv'),
    pair.addContainer('b', 'box-vb', 'vv'),
    pair.mustVtep('a', 'peer', 'add', '--network', 'vk', '--address', '192.0.2.66', '--port', String(KERNEL_PORT)),
    pair.mustVtep('b', 'peer', 'add', '--network', 'kv', '--address', '192.0.2.65', '--port', String(KERNEL_PORT)),
  ]);
  const own: Partial<Record<Path, string>> = { kv: receiverKv.mac, vv: receiverVv.mac };
  for (const path of ['kk', 'vk'] as const) {
    await pair.mustExec('b', 'bridge', 'fdb', 'add', ELSEWHERE, 'dev', `vx${VNI[path]}`, 'dst', '192.0.2.99', 'static');
    own[path] = (await pair.mustExec('b', 'cat', `/sys/class/net/vx${VNI[path]}/address`)).stdout.trim();
  }
  for (const network of ['kv', 'vv']) await pair.waitConverged(network);
  await waitFor('the kernel peers', async () => {
    const vteps = async (host: HostName) =>
      (await status(host)).vteps.map(({ address }: { address: string }) => address);
    return (await vteps('a')).includes('192.0.2.66') && (await vteps('b')).includes('192.0.2.65');
  });
  for (const path of PATHS) {
    const [from, into] = [
      new PacketSocket(pair.netns('a'), await index('a', interfaceOf(path, 'a'))),
      new PacketSocket(pair.netns('b'), await index('b', interfaceOf(path, 'b'))),
    ];
    ends[path] = { from, into, own: hex((own[path] as string).replaceAll(':', '')) };
  }
});
afterAll(async () => {
  trace?.close();
  for (const { from, into } of Object.values(ends)) {
    from.close();
    into.close();
  }
  await pair?.cleanup();
});

// biome-ignore lint/suspicious/noExplicitAny: the status has its own schema
async function status(host: HostName): Promise<any> {
  return (await callApi(pair.socketPath(host), 'GET', '/v1/status')).body;
}

/** What vtepd has dropped on a path so far, by cause; on one end. */
async function vtepDrops(host: HostName, path: Path): Promise<Record<string, number>> {
  const { networks, drops } = await status(host);
  const own = networks.find(({ vni }: { vni: number }) => vni === VNI[path])?.counters ?? {};
  const found: Record<string, number> = {};
  for (const [name, count] of Object.entries(own as Record<string, number>)) {
    if (name.startsWith('drop_')) found[name.slice(5)] = count;
  }
  for (const cause of ['invalid_hdr', 'no_vni_flag', 'vni_not_found']) found[cause] = drops[cause];
  return found;
}

/** By cause or by the kernel's reason. */
async function dropsOf(path: Path): Promise<Record<string, number>> {
  const all: Record<string, number> = {};
  for (const [i, host] of (['a', 'b'] as const).entries()) {
    if (path[i] === 'v') {
      for (const [name, count] of Object.entries(await vtepDrops(host, path))) all[name] = (all[name] ?? 0) + count;
    }
  }
  if (path !== 'vv') for (const [name, count] of Object.entries(trace.counts())) all[name] = (all[name] ?? 0) + count;
  return all;
}

/**
 * Sends by `put`, and waits until all packets have come out, or as many have been dropped for one cause.
 *
 * @returns what has become of all of them, in a word: a kind's packets must share their fate
 */
async function fateOf(
  path: Path,
  sent: readonly Uint8Array[],
  due: readonly Uint8Array[],
  put: (bytes: Uint8Array) => boolean,
) {
  const { into } = ends[path];
  into.receive();
  trace.clear();
  const before = await dropsOf(path);
  const refused = sent.filter((bytes) => !put(bytes)).length;
  const delivered: string[] = [];
  let drops: [string, number][] = [];
  const isSettled = async () => {
    for (const frame of into.receive()) if (isMarked(frame)) delivered.push(Buffer.from(frame).toString('hex'));
    if (delivered.length + refused >= sent.length) return true;
    // Others' drops are among these: only as many of one cause as there are packets say something.
    drops = Object.entries(await dropsOf(path)).map(([name, count]) => [name, count - (before[name] ?? 0)]);
    return delivered.length === 0 && drops.some(([, count]) => count >= sent.length);
  };
  const end = Date.now() + (trace.isThere || path === 'vv' ? WAIT_MS : WAIT_UNSEEN_MS);
  while (!(await isSettled()) && Date.now() < end) await sleep(5);
  if (refused === sent.length) return 'refused by the interface';
  if (delivered.length === sent.length) {
    const expected = due.map((frame) => Buffer.from(frame).toString('hex')).sort();
    return JSON.stringify(delivered.sort()) === JSON.stringify(expected) ? DELIVERED : 'delivered, changed';
  }
  if (delivered.length > 0) return `${delivered.length} of ${sent.length} delivered`;
  const causes = drops.filter(([, count]) => count >= sent.length).map(([name]) => name);
  return causes.length === 0 ? 'lost' : causes.sort().join(', ');
}

/** Whether a path drops for the cause that the kernel's own path has. */
function isAlike(fate: string, kernels: string): boolean {
  if (fate === kernels || fate === NOT_TRIED) return true;
  return KERNEL_REASONS[fate]?.some((reason) => trace.seen(reason) === kernels) ?? false;
}

/** Of docs/interop.md: the first word in backquotes of a row is the kind, then a fate for each path. */
function documented(title: string, columns: number): Map<string, string[]> {
  const text = readFileSync(new URL('../../docs/interop.md', import.meta.url), 'utf8');
  const section = text.split('\n## ').find((part) => part.startsWith(title)) ?? '';
  const rows = section.split('\n').filter((line) => line.startsWith('| `'));
  return new Map(
    rows.map((row) => {
      const cells = row.split('|').map((cell) => cell.trim().replaceAll('`', ''));
      return [cells[1] as string, cells.slice(2, 2 + columns).map((fate) => trace.seen(fate))];
    }),
  );
}

describe('what the kernel and vtep make of', () => {
  it('frames of every kind is the same, or docs/interop.md says why not', async () => {
    const elsewhere = hex(ELSEWHERE.replaceAll(':', ''));
    const kinds = new Map(PATHS.map((path) => [path, makeKinds(SEED, { own: ends[path].own, elsewhere })]));
    const different = new Map<string, string[]>();
    let frames = 0;
    for (const [i, { name }] of (kinds.get('kk') as Kind[]).entries()) {
      const fates: string[] = [];
      for (const path of PATHS) {
        const { frames: sent } = (kinds.get(path) as Kind[])[i] as Kind;
        // On vv nobody but the sender itself could be elsewhere.
        const isTried = path !== 'vv' || name !== 'source-elsewhere';
        fates.push(isTried ? await fateOf(path, sent, sent, (frame) => ends[path].from.send(frame)) : NOT_TRIED);
        frames += sent.length;
      }
      if (!fates.every((fate) => isAlike(fate, fates[0] as string))) different.set(name, fates);
    }
    expect(frames).toBeGreaterThan(600);
    expect(Object.fromEntries(different)).toEqual(Object.fromEntries(documented('Frames', PATHS.length)));
  });

  it('datagrams of every kind is the same, or docs/interop.md says why not', async () => {
    const different = new Map<string, string[]>();
    const targets = { kk: ['192.0.2.66', KERNEL_PORT], kv: ['192.0.2.2', 4789] } as const;
    const kinds = { kk: makeDatagrams(SEED, VNI.kk), kv: makeDatagrams(SEED, VNI.kv) };
    for (const [i, { name }] of kinds.kk.entries()) {
      const fates: string[] = [];
      for (const path of ['kk', 'kv'] as const) {
        const { datagrams, tos, frames } = kinds[path][i] as DatagramKind;
        const [address, port] = targets[path];
        const socket = new DatagramSocket(pair.netns('a'), '192.0.2.65', address, port, tos);
        fates.push(await fateOf(path, datagrams, frames, (datagram) => socket.send(datagram)));
        socket.close();
      }
      if (!fates.every((fate) => isAlike(fate, fates[0] as string))) different.set(name, fates);
    }
    expect(Object.fromEntries(different)).toEqual(Object.fromEntries(documented('Datagrams', 2)));
  });
});
