/**
 * A million frames a way through the compiled data plane, and what they leave on the heap. Test support; no part of vtep.
 *
 *   node --expose-gc --no-memory-reducer --min-semi-space-size=128 --max-semi-space-size=128 frames.mjs
 *
 * A young generation of 128 MiB takes all garbage of a run without one collection: what the heap has grown by is what was
 * made. Prints one JSON object a line: {"way", "frames", "bytes", "collections"}. Where each frame is two system calls of
 * the test's own, a quarter of a million have to do.
 */
import { PerformanceObserver } from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';
import koffi from 'koffi';
import * as arenaLayout from '../../dist/dataplane/arena.js';
import { WorkerContext } from '../../dist/dataplane/context.js';
import { decapsulateMessage } from '../../dist/dataplane/decap.js';
import { encapsulate } from '../../dist/dataplane/encap.js';
import { drainTap } from '../../dist/dataplane/tap-rx.js';
import { flushAggregate } from '../../dist/dataplane/tap-tx.js';
import { drainUnderlay, prepareReceive } from '../../dist/dataplane/underlay-rx.js';
import { DECAP_FRAMES, ENCAP_FRAMES, NETWORK_COUNTERS } from '../../dist/shared/counters.js';
import { fdbKeyHigh, KIND_STATIC } from '../../dist/shared/fdb.js';
import { allocateTables } from '../../dist/shared/tables.js';
import { FdbWriter } from '../../dist/shared/writers/fdb-writer.js';
import { NetworkWriter } from '../../dist/shared/writers/network-writer.js';
import { VtepWriter } from '../../dist/shared/writers/vtep-writer.js';
import { read, write } from '../../dist/sys/libc.js';
import { addressOf, pin } from '../../dist/sys/memory.js';
import { SOCKADDR_IN6_BYTES, writeSockaddr } from '../../dist/sys/sockaddr.js';
import { enableUdpGro } from '../../dist/sys/udp-offloads.js';
import { boundPort, openUdpSocket } from '../../dist/sys/udp-socket.js';
import { completeChecksum, pseudoHeaderSumIpv4 } from '../../dist/wire/checksum.js';
import { emitVxlan } from '../../dist/wire/vxlan.js';

const MILLION = 1_000_000;
const VNI = 256;
const VNI_OVER_IPV6 = 257;
const MSS = 1400;
const SEGMENTS = 40;
const PORT = 24_792;
const SELF = Uint8Array.of(127, 0, 0, 1);
const PEER = Uint8Array.of(127, 0, 0, 2);
/** This host's and the peer's, by port. */
const LOOPBACK6 = Uint8Array.from({ length: 16 }, (_, i) => (i === 15 ? 1 : 0));
const VIRTIO_BYTES = 10;
const HEADER_BYTES = 54;
const FRAME = arenaLayout.SLOT_FRAME_OFFSET;
const SOCKET_BYTES = 8 * 1024 * 1024;

const libc = koffi.load('libc.so.6');
const socketpair = libc.func('int socketpair(int domain, int type, int protocol, uintptr_t fds)');
const pair = pin(new Int32Array(2));
if (socketpair(1, 2 | 0o4000, 0, addressOf(pair)) !== 0) throw new Error('socketpair failed');
const [tapFd, containerFd] = pair;

const buffers = { sendBufferBytes: SOCKET_BYTES, receiveBufferBytes: SOCKET_BYTES };
const underlayFd = openUdpSocket({ address: SELF, port: PORT, receiveTos: true, ...buffers });
enableUdpGro(underlayFd);
const txFds = [0, 0].map(() => openUdpSocket({ address: SELF, port: 0, ...buffers }));
const peerFd = openUdpSocket({ address: PEER, port: PORT, ...buffers });
enableUdpGro(peerFd);
const openIpv6 = () => openUdpSocket({ address: LOOPBACK6, port: 0, ...buffers });
const [underlay6Fd, peer6Fd, ...tx6Fds] = [0, 0, 0, 0].map(openIpv6);
enableUdpGro(underlay6Fd);
enableUdpGro(peer6Fd);

const tables = allocateTables(1);
const networks = new NetworkWriter(tables.networks, tables.vnis, tables.membership);
const network = networks.reserve();
networks.publish(network, { vni: VNI, tapFds: [tapFd], mtuBytes: 1450, learning: true });
const vteps = new VtepWriter(tables.vteps);
vteps.add(SELF, PORT);
const peer = vteps.add(PEER, PORT);
networks.addMember(network, peer);
const fdb = new FdbWriter(tables.fdb);
fdb.set(3, fdbKeyHigh(0x0200, network), KIND_STATIC, peer, 0);
const network6 = networks.reserve();
networks.publish(network6, { vni: VNI_OVER_IPV6, tapFds: [tapFd], mtuBytes: 1430, learning: true });
const peer6 = vteps.add(LOOPBACK6, boundPort(peer6Fd));
networks.addMember(network6, peer6);
fdb.set(3, fdbKeyHigh(0x0200, network6), KIND_STATIC, peer6, 0);
const offloads = { underlayGso: true, underlayGro: true, coalesceTcp: true, coalesceUdp: true, simdChecksum: true };
const underlay = [
  { family: 4, rxFd: underlayFd, txFds },
  { family: 6, rxFd: underlay6Fd, txFds: tx6Fds },
];
const ends = { epollFd: -1, wakeFd: -1, underlay };
const context = new WorkerContext(
  { workerIndex: 0, tables, ...ends, offloads, spinMicroseconds: 0, nice: 0 },
  () => {},
);
prepareReceive(context);
const { bytes, view } = context.arena;

/**
 * Ethernet, IPv4, TCP to 02:00:00:00:00:03, from there too: one entry of the FDB serves both directions. Superframes take
 * part in ECN, so that their datagrams have an outer TOS.
 */
function writeTcp(at, payloadBytes, index, isSuperframe) {
  bytes.set([2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 3, 8, 0, 0x45, isSuperframe ? 2 : 0], at);
  view.setUint16(at + 16, HEADER_BYTES - 14 + payloadBytes);
  view.setUint16(at + 18, index);
  view.setUint32(at + 20, 0x40004006);
  view.setUint32(at + 24, 0x00000a00);
  view.setUint16(at + 24, 0);
  view.setUint32(at + 26, 0x0a000002);
  view.setUint32(at + 30, 0x0a000003);
  view.setUint32(at + 34, 0x9c401451);
  view.setUint32(at + 38, 0xf0000000 + index * payloadBytes);
  view.setUint32(at + 42, 0xf0000001);
  view.setUint32(at + 46, 0x50100200);
  view.setUint32(at + 50, 0);
  bytes.fill(0x5a, at + HEADER_BYTES, at + HEADER_BYTES + payloadBytes);
  const frameBytes = HEADER_BYTES + payloadBytes;
  completeChecksum(bytes, at, frameBytes, 14, 10);
  const upperBytes = frameBytes - 34;
  let pseudo = pseudoHeaderSumIpv4(bytes, at + 14, 6, upperBytes);
  while (pseudo > 0xffff) pseudo = (pseudo & 0xffff) + (pseudo >>> 16);
  view.setUint16(at + 50, pseudo);
  if (!isSuperframe) completeChecksum(bytes, at, frameBytes, 34, 16);
}

function writeVirtio(at, gsoBytes) {
  bytes.fill(0, at - VIRTIO_BYTES, at);
  if (gsoBytes === 0) return;
  view.setUint16(at - 10, 0x0101);
  view.setUint16(at - 6, gsoBytes, true);
  view.setUint16(at - 4, 34, true);
  view.setUint16(at - 2, 16, true);
}

/** What a flush would do, without its system call. */
function forgetQueued() {
  for (let socket = 0; socket < context.txFds.length; socket++) {
    context.txCounts[socket] = 0;
    context.txIovecCounts[socket] = 0;
    context.txOpen[socket] = -1;
  }
  context.headerBlockCount = 0;
}

const frame = context.arena.tapArea + FRAME;
const superBytes = HEADER_BYTES + SEGMENTS * MSS;

const FEWER = new Set([
  'plain frames, from the TAP to the underlay',
  'single datagrams, from the underlay to the TAP',
  'single datagrams, over IPv6',
]);

/** Each way moves some frames and says how many. */
const WAYS = {
  'plain frames, encapsulated in memory': () => {
    for (let i = 0; i < 64; i++) {
      writeVirtio(frame, 0);
      encapsulate(context, network, frame, HEADER_BYTES + 10);
    }
    forgetQueued();
    return 64;
  },
  'superframes, split in memory': () => {
    writeVirtio(frame, MSS);
    encapsulate(context, network, frame, superBytes);
    forgetQueued();
    return SEGMENTS;
  },
  'plain frames, from the TAP to the underlay': () => {
    for (let i = 0; i < 8; i++) write(containerFd, plainAddress, VIRTIO_BYTES + HEADER_BYTES + 10);
    drainTap(context, network);
    while (read(peerFd, scratchAddress, scratch.length) > 0);
    return 8;
  },
  'superframes, from the TAP to the underlay': () => {
    write(containerFd, superAddress, VIRTIO_BYTES + superBytes);
    drainTap(context, network);
    while (read(peerFd, scratchAddress, scratch.length) > 0);
    return SEGMENTS;
  },
  'trains, coalesced into the TAP': () => {
    const slot = context.arena.rxSlots + FRAME - 8;
    const stepBytes = 8 + HEADER_BYTES + MSS;
    bytes.set(trainBytes, slot);
    decapsulateMessage(context, slot, SEGMENTS * stepBytes, stepBytes, peer, false);
    flushAggregate(context);
    while (read(containerFd, scratchAddress, scratch.length) > 0);
    return SEGMENTS;
  },
  'single datagrams, from the underlay to the TAP': () => {
    for (let i = 0; i < 8; i++) sendFromPeer(singleAddress, 8 + HEADER_BYTES + 10);
    drainUnderlay(context, underlayFd);
    while (read(containerFd, scratchAddress, scratch.length) > 0);
    return 8;
  },
  'superframes, over IPv6': () => {
    write(containerFd, superAddress, VIRTIO_BYTES + superBytes);
    drainTap(context, network6);
    while (read(peer6Fd, scratchAddress, scratch.length) > 0);
    return SEGMENTS;
  },
  'single datagrams, over IPv6': () => {
    for (let i = 0; i < 8; i++) sendto(peer6Fd, single6Address, 8 + HEADER_BYTES + 10, 0, target6Address, 28);
    drainUnderlay(context, underlay6Fd);
    while (read(containerFd, scratchAddress, scratch.length) > 0);
    return 8;
  },
};

const scratch = pin(new Uint8Array(70_000));
const scratchAddress = addressOf(scratch);

const memory = (length) => {
  const copy = pin(new Uint8Array(length));
  return { copy, address: addressOf(copy) };
};
writeTcp(frame, 10, 0, false);
writeVirtio(frame, 0);
const plain = memory(VIRTIO_BYTES + HEADER_BYTES + 10);
plain.copy.set(bytes.slice(frame - VIRTIO_BYTES, frame + HEADER_BYTES + 10));
const plainAddress = plain.address;
const single = memory(8 + HEADER_BYTES + 10);
emitVxlan(bytes, frame - 8, VNI);
single.copy.set(bytes.slice(frame - 8, frame + HEADER_BYTES + 10));
const singleAddress = single.address;
const single6 = memory(single.copy.length);
single6.copy.set(single.copy);
emitVxlan(single6.copy, 0, VNI_OVER_IPV6);
const single6Address = single6.address;

const trainBytes = new Uint8Array(SEGMENTS * (8 + HEADER_BYTES + MSS));
for (let i = 0; i < SEGMENTS; i++) {
  writeTcp(frame, MSS, i, false);
  emitVxlan(bytes, frame - 8, VNI);
  trainBytes.set(bytes.slice(frame - 8, frame + HEADER_BYTES + MSS), i * (8 + HEADER_BYTES + MSS));
}

writeTcp(frame, SEGMENTS * MSS, 0, true);
writeVirtio(frame, MSS);
const whole = memory(VIRTIO_BYTES + superBytes);
whole.copy.set(bytes.slice(frame - VIRTIO_BYTES, frame + superBytes));
const superAddress = whole.address;

const sendto = libc.func(
  'intptr_t sendto(int fd, uintptr_t bytes, size_t count, int flags, uintptr_t to, unsigned int length)',
);
const target = pin(Uint8Array.of(2, 0, PORT >> 8, PORT & 0xff, ...SELF, 0, 0, 0, 0, 0, 0, 0, 0));
const targetAddress = addressOf(target);
const target6 = pin(new Uint8Array(SOCKADDR_IN6_BYTES));
const target6Address = addressOf(target6);
writeSockaddr(target6, 0, LOOPBACK6, boundPort(underlay6Fd));
const sendFromPeer = (address, length) => sendto(peerFd, address, length, 0, targetAddress, 16);

let collections = 0;
new PerformanceObserver((list) => {
  collections += list.getEntries().length;
}).observe({ entryTypes: ['gc'] });
const settle = () => new Promise((resolve) => setTimeout(resolve, 20));

function move(step, frames) {
  for (let moved = 0; moved < frames; ) moved += step();
}

/** Encapsulated and decapsulated frames of both networks. */
const countMoved = () =>
  [network, network6]
    .flatMap((row) => [ENCAP_FRAMES, DECAP_FRAMES].map((counter) => row * NETWORK_COUNTERS + counter))
    .reduce((sum, cell) => sum + context.counters.cells[cell], 0);

for (const [way, step] of Object.entries(WAYS)) {
  const frames = FEWER.has(way) ? MILLION / 4 : MILLION;
  const before = countMoved();
  move(step, MILLION / 10);
  globalThis.gc();
  await settle();
  collections = 0;
  const start = getHeapStatistics().used_heap_size;
  move(step, frames);
  const grown = getHeapStatistics().used_heap_size - start;
  await settle();
  if (countMoved() - before < frames + MILLION / 10) throw new Error(`${way}: frames were lost`);
  process.stdout.write(`${JSON.stringify({ way, frames, bytes: grown, collections })}\n`);
}
