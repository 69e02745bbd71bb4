/**
 * A real vtepd under a flood: datagrams from a member and from a stranger, frames from a container by a packet socket.
 * Afterwards it runs, a ping goes through the overlay, memory and FDB are within their bounds, and its counters account for
 * each datagram (conservation.ts).
 *
 *     host a: vtepd, an FDB of 1,000 entries      host b: vtepd, and the flood from 192.0.2.66 (member), 192.0.2.67 (stranger)
 */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { DROP_CAUSES } from '../../src/shared/drop-causes.js';
import { callApi } from '../chaos/api-client.js';
import { hex } from '../dataplane/reference/octets.js';
import { type Container, createHostPair, type HostPair, waitFor } from '../e2e/host-pair.js';
import { DatagramSocket } from '../interop/datagram-socket.js';
import { PacketSocket } from '../interop/packet-socket.js';
import { wrongInCounters } from './conservation.js';
import { arp, ethernet, octets, vxlan } from './headers.js';

const FDB_ENTRIES = 1000;
/** fdbEntriesMax rounds up to whole steps of the table. */
const FDB_ENTRIES_MAX = FDB_ENTRIES * 1.2;
const VNI = 4300;
/** Datagrams on the way at once: a socket's buffer holds them. */
const CHUNK = 500;
const RSS_GROWTH_BYTES_MAX = 100 * 1024 * 1024;
const EVERYONE = octets(255, 255, 255, 255, 255, 255);

let pair: HostPair;
let boxA: Container;
let boxB: Container;
let member: DatagramSocket;
let stranger: DatagramSocket;
/** Datagrams of VTEPs that are not in the table: those that came before it was complete, and the flood's. */
let sentByStranger = 0;

beforeAll(async () => {
  pair = await createHostPair({ daemonOptions: ['--fdb-entries', String(FDB_ENTRIES)] });
  await pair.mustVtep('a', 'network', 'create', 'n', '--vni', String(VNI), '--subnet', '10.0.0.0/24');
  for (const address of ['192.0.2.66', '192.0.2.67']) {
    await pair.mustExec('b', 'ip', 'addr', 'add', `${address}/24`, 'dev', 'ens33');
  }
  await pair.mustVtep('a', 'peer', 'add', '--network', 'n', '--address', '192.0.2.66', '--port', '9');
  boxA = await pair.addContainer('a', 'box-a', 'n');
  boxB = await pair.addContainer('b', 'box-b', 'n');
  await pair.waitConverged('n');
  await waitFor('the peer', async () => (await status()).vteps.length === 2);
  const first = await status();
  sentByStranger = receivedIn(first) - sumOf(first.vteps, 'rx_datagrams');
  member = new DatagramSocket(pair.netns('b'), '192.0.2.66', '192.0.2.1', 4789);
  stranger = new DatagramSocket(pair.netns('b'), '192.0.2.67', '192.0.2.1', 4789);
});
afterAll(async () => {
  member?.close();
  stranger?.close();
  await pair?.cleanup();
});

// biome-ignore lint/suspicious/noExplicitAny: the status has its own schema
const status = async (): Promise<any> => (await callApi(pair.socketPath('a'), 'GET', '/v1/status')).body;

/** The process in `ip netns exec` is the daemon itself. */
const rssBytes = () =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pair.daemonPid('a')}/status`, 'utf8'))?.[1]) * 1024;

const sumOf = (vteps: { counters: Record<string, number> }[], name: string): number =>
  vteps.reduce((sum, { counters }) => sum + (counters[name] ?? 0), 0);

const dropsNow = async () => (await status()).drops as Record<string, number>;

/** All that is delivered or dropped, and what the kernel could not hand over. */
function receivedIn({ totals, drops }: { totals: Record<string, number>; drops: Record<string, number> }): number {
  const decap = DROP_CAUSES.filter(({ direction }) => direction === 'decap');
  return decap.reduce((sum, { name }) => sum + (drops[name] ?? 0), totals.decap_frames ?? 0);
}

const receivedNow = async () => receivedIn(await status());

/** Some at a time, each lot received before the next. */
async function flood(socket: DatagramSocket, count: number, make: (i: number) => Uint8Array): Promise<void> {
  for (let from = 0; from < count; from += CHUNK) {
    const before = await receivedNow();
    const lot = Math.min(CHUNK, count - from);
    for (let i = 0; i < lot; i++) {
      if (!socket.send(make(from + i))) throw new Error('the test could not send');
    }
    if (socket === stranger) sentByStranger += lot;
    await waitFor(`${lot} datagrams to be received`, async () => (await receivedNow()) - before >= lot);
  }
}

const newMac = (i: number) => octets(2, 1, i >> 24, i >> 16, i >> 8, i);
const frame = (i: number, bytes = 46) => ethernet(EVERYONE, newMac(i), 0x88b5, new Uint8Array(bytes));

it.each<[string, number, 'member' | 'stranger', (i: number) => Uint8Array, string | undefined]>([
  ['unknown VNIs', 5000, 'member', (i) => vxlan(0x80_0000 + i, frame(i)), 'vni_not_found'],
  ['unknown VNIs of a stranger', 2000, 'stranger', (i) => vxlan(0x80_0000 + i, frame(i)), 'vni_not_found'],
  ['frames of a stranger', 2000, 'stranger', (i) => vxlan(VNI, frame(i)), 'vtep_not_member'],
  ['empty datagrams', 2000, 'member', () => new Uint8Array(0), 'invalid_hdr'],
  ['giants', 200, 'member', (i) => vxlan(VNI, frame(i, 65_400)), 'inner_oversize'],
  ['no I flag', 1000, 'stranger', () => new Uint8Array(60), 'no_vni_flag'],
  ['new source MACs', 5000, 'member', (i) => vxlan(VNI, frame(i)), undefined],
])('%s: each is counted', async (_name, count, from, make, cause) => {
  const before = await dropsNow();
  const delivered = (await status()).totals.decap_frames as number;
  await flood(from === 'member' ? member : stranger, count, make);
  const after = await dropsNow();
  if (cause === undefined) {
    const lost = (after.tap_busy as number) - (before.tap_busy as number);
    expect((await status()).totals.decap_frames - delivered + lost).toBeGreaterThanOrEqual(count);
  } else {
    expect((after[cause] as number) - (before[cause] as number)).toBe(count);
  }
  expect(after.underlay_overflow).toBe(0);
});

it('a container that floods frames, with MACs that are not its own, ARP that lies, cut short, is heard out as well', async () => {
  const [link] = (await pair.mustExec('box-a', 'ip', '-json', 'link', 'show', 'dev', boxA.interface)).json();
  const socket = new PacketSocket(boxA.netns, link.ifindex);
  const before = await status();
  const own = hex(boxA.mac.replaceAll(':', ''));
  for (let i = 0; i < 3000; i++) {
    const lie = arp(i % 7, newMac(i), i, newMac(i + 1), i);
    const source = i % 2 === 0 ? own : newMac(i);
    if (i % 3 === 0) socket.send(ethernet(EVERYONE, source, 0x88b5, new Uint8Array(i % 1400)));
    else socket.send(ethernet(EVERYONE, source, 0x0806, lie.slice(0, i % 29)));
  }
  socket.close();
  await waitFor('its own to be encapsulated, the others to be dropped at the port', async () => {
    const { totals, drops } = await status();
    return totals.encap_frames > before.totals.encap_frames + 100 && drops.source_mac > before.drops.source_mac + 100;
  });
});

it('afterwards it runs in its bounds, its tables know who is registered, and the overlay works', async () => {
  const fdb = async () =>
    (await pair.mustVtep('a', 'fdb', '--network', 'n', '--json')).json() as { mac: string; kind: string }[];
  expect((await fdb()).length).toBeLessThanOrEqual(FDB_ENTRIES_MAX);
  expect((await fdb()).filter(({ kind }) => kind === 'dynamic').length).toBeGreaterThan(FDB_ENTRIES / 2);
  // A full FDB has room for whoever is registered.
  const late = await pair.addContainer('b', 'box-late', 'n');
  await waitFor('the late one', async () =>
    (await fdb()).some(({ mac, kind }) => mac === late.mac && kind === 'static'),
  );
  for (const to of [boxB.ip, late.ip]) expect((await pair.ping('box-a', to, { count: 3 })).lossPercent).toBe(0);
  expect(pair.log('vtepd-a')).not.toContain('fdb.full');
  expect((await status()).workers.every(({ state }: { state: string }) => state === 'running')).toBe(true);
});

it('memory does not grow with what comes, and the counters keep the law of conservation', async () => {
  const before = rssBytes();
  await flood(member, 20_000, (i) => vxlan(i % 2 === 0 ? VNI : 0x90_0000 + i, frame(1_000_000 + i)));
  expect(rssBytes() - before).toBeLessThan(RSS_GROWTH_BYTES_MAX);
  // Between two reads of the same status, so that nothing is on its way.
  let wrong: string | undefined;
  const agree = async () => {
    const { totals, drops, vteps } = await status();
    const received = { datagrams: sumOf(vteps, 'rx_datagrams') + sentByStranger, frames: undefined };
    wrong = wrongInCounters({ traffic: totals, drops, txDatagrams: sumOf(vteps, 'tx_datagrams') }, received);
    return wrong === undefined;
  };
  await waitFor('the counters to agree', agree).catch((error: Error) => {
    throw new Error(`${error.message}: ${wrong}`);
  });
});
