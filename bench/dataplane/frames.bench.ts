/**
 * Encapsulate and decapsulate in memory: all of the worker's own work on a frame, FDB lookup included, without system
 * calls. A case is 64 frames; divide by 64 for one.
 */
import benny from 'benny';
import { BURST_FRAMES, SLOT_FRAME_OFFSET, TAP_STEP_BYTES } from '../../src/dataplane/arena.js';
import { WorkerContext } from '../../src/dataplane/context.js';
import { encapsulate } from '../../src/dataplane/encap.js';
import { learn } from '../../src/dataplane/learn.js';
import { writeTapHeader } from '../../src/dataplane/tap-header.js';
import { fdbKeyHigh, KIND_STATIC } from '../../src/shared/fdb.js';
import { allocateTables } from '../../src/shared/tables.js';
import { FdbWriter } from '../../src/shared/writers/fdb-writer.js';
import { NetworkWriter } from '../../src/shared/writers/network-writer.js';
import { VtepWriter } from '../../src/shared/writers/vtep-writer.js';
import { checkVxlan, emitVxlan, readVni } from '../../src/wire/vxlan.js';

const VNI = 256;
const tables = allocateTables(1);
const networks = new NetworkWriter(tables.networks, tables.vnis, tables.membership);
const network = networks.reserve();
networks.publish(network, { vni: VNI, tapFds: [-1], mtuBytes: 1450, learning: true });
const vteps = new VtepWriter(tables.vteps);
vteps.add(Uint8Array.of(192, 0, 2, 1), 4789);
const peer = vteps.add(Uint8Array.of(192, 0, 2, 2), 4789);
networks.addMember(network, peer);
new FdbWriter(tables.fdb).set(3, fdbKeyHigh(0x0200, network), KIND_STATIC, peer, 0);
const offloads = { underlayGso: false, underlayGro: false, coalesceTcp: false, coalesceUdp: false, simdChecksum: true };
const ends = { epollFd: -1, wakeFd: -1, underlayFd: -1, txFds: [-1] };
const input = { workerIndex: 0, tables, ...ends, offloads, spinMicroseconds: 0, nice: 0 };
const context = new WorkerContext(input, () => {});

function writeFrame(offset: number, frameBytes: number): void {
  const bytes = context.arena.bytes;
  bytes.fill(0, offset - 10, offset + frameBytes);
  // 02:00:00:00:00:03 <- 02:00:00:00:00:03: one entry serves both directions.
  bytes.set([2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 3, 8, 0, 0x45], offset);
  new DataView(bytes.buffer).setUint16(offset + 16, frameBytes - 14);
  bytes[offset + 23] = 17;
  bytes[offset + 41] = 1;
}

function encapsulateBurst(frameBytes: number): void {
  const { arena, txCounts } = context;
  for (let i = 0; i < BURST_FRAMES; i++) {
    const frame = arena.tapArea + i * 8 * TAP_STEP_BYTES + SLOT_FRAME_OFFSET;
    // The virtio header that the TAP would have written.
    arena.bytes.fill(0, frame - 10, frame);
    encapsulate(context, network, frame, frameBytes);
  }
  // What a flush would do, without its system call.
  txCounts[0] = 0;
  context.txIovecCounts[0] = 0;
  context.txOpen[0] = -1;
}

function decapsulateBurst(frameBytes: number): number {
  const { arena } = context;
  const bytes = arena.bytes;
  let sum = 0;
  for (let i = 0; i < BURST_FRAMES; i++) {
    const datagram = arena.rxSlots + i * 8 * TAP_STEP_BYTES + SLOT_FRAME_OFFSET - 8;
    emitVxlan(bytes, datagram, VNI);
    sum += checkVxlan(bytes, datagram, frameBytes + 8);
    const index = context.networks.indexOf(readVni(bytes, datagram));
    const vtep = context.vteps.indexOfSource(0x020200c0);
    sum += context.members.has(index, vtep) ? 1 : 0;
    sum += learn(context, index, 3, 0x0200, vtep);
    writeTapHeader(context, index, datagram + 8, frameBytes, 0);
  }
  return sum;
}

for (const frameBytes of [64, 512, 1450]) {
  for (let i = 0; i < BURST_FRAMES; i++) {
    writeFrame(context.arena.tapArea + i * 8 * TAP_STEP_BYTES + SLOT_FRAME_OFFSET, frameBytes);
    writeFrame(context.arena.rxSlots + i * 8 * TAP_STEP_BYTES + SLOT_FRAME_OFFSET - 8 + 8, frameBytes);
  }
  await benny.suite(
    `${BURST_FRAMES} frames of ${frameBytes} bytes`,
    benny.add('encapsulate', () => encapsulateBurst(frameBytes)),
    benny.add('decapsulate', () => decapsulateBurst(frameBytes)),
    benny.cycle(),
    benny.complete(),
  );
}
