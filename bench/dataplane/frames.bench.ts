/**
 * Encapsulate and decapsulate plain frames in memory: all of the worker's own work on a frame, flow hash and FDB look-up
 * included. A case is 64 frames of one flow, as a burst from the TAP or as a train from the underlay.
 *
 * Encapsulation ends where sendmmsg would be called; a train ends in one writev, which fails at once (no descriptor).
 */
import benny from 'benny';
import {
  BURST_FRAMES,
  SLOT_BYTES,
  SLOT_FRAME_OFFSET,
  SLOT_VXLAN_OFFSET,
  TAP_STEP_BYTES,
} from '../../src/dataplane/arena.js';
import { decapsulateMessage } from '../../src/dataplane/decap.js';
import { encapsulate } from '../../src/dataplane/encap.js';
import { flushAggregate } from '../../src/dataplane/tap-tx.js';
import { emitVxlan } from '../../src/wire/vxlan.js';
import { makeBenchContext, PEER_WORD, udpFrame, VNI } from './bench-context.js';

const { context, network } = makeBenchContext();
const { arena } = context;
/** Of 1,450 bytes as many as fit into a message. */
const MESSAGE_BYTES_MAX = 65_507;

function encapsulateBurst(frameBytes: number): void {
  const step = Math.ceil((SLOT_FRAME_OFFSET + frameBytes) / TAP_STEP_BYTES) * TAP_STEP_BYTES;
  for (let i = 0; i < BURST_FRAMES; i++) {
    const frame = arena.tapArea + i * step + SLOT_FRAME_OFFSET;
    // The virtio header's first two bytes, flags and type, are 0 and stay so: the VXLAN header begins behind them.
    encapsulate(context, network, frame, frameBytes);
  }
  // What a flush would do, without its system call.
  context.txCounts.fill(0);
  context.txIovecCounts.fill(0);
  context.txOpen.fill(-1);
}

function layOut(frameBytes: number): { train: Uint8Array; count: number } {
  const frame = udpFrame(frameBytes);
  const step = Math.ceil((SLOT_FRAME_OFFSET + frameBytes) / TAP_STEP_BYTES) * TAP_STEP_BYTES;
  for (let i = 0; i < BURST_FRAMES; i++) arena.bytes.set(frame, arena.tapArea + i * step + SLOT_FRAME_OFFSET);
  const count = Math.min(BURST_FRAMES, Math.floor(MESSAGE_BYTES_MAX / (frameBytes + 8)));
  const train = new Uint8Array(count * (frameBytes + 8));
  for (let i = 0; i < count; i++) {
    emitVxlan(train, i * (frameBytes + 8), VNI);
    train.set(frame, i * (frameBytes + 8) + 8);
  }
  return { train, count };
}

for (const frameBytes of [64, 512, 1450]) {
  const { train, count } = layOut(frameBytes);
  const slot = arena.rxSlots + SLOT_VXLAN_OFFSET;
  if (train.length > SLOT_BYTES) throw new Error('the train does not fit into a slot');
  arena.bytes.set(train, slot);
  const head = train.slice(0, 64);
  const decapsulateTrain = () => {
    // What the superframe's headers were written over.
    arena.bytes.set(head, slot);
    decapsulateMessage(context, slot, train.length, frameBytes + 8, context.vteps.indexOfSource(PEER_WORD), false);
    flushAggregate(context);
  };
  await benny.suite(
    `plain frames of ${frameBytes} bytes`,
    benny.add('encapsulate', () => encapsulateBurst(frameBytes)),
    benny.add('decapsulate', decapsulateTrain),
    benny.complete(({ results }) => {
      for (const { name, ops } of results) {
        const frames = name === 'encapsulate' ? BURST_FRAMES : count;
        console.log(`${name} ${frameBytes} bytes: ${(1e9 / ops / frames).toFixed(1)} ns a frame`);
      }
    }),
  );
}
