/**
 * Split and coalesce in memory: what a superframe of 64 KiB costs the worker itself, checksums included. A case is one
 * superframe of 44 segments; the system calls fail at once (no descriptor), one a superframe.
 */
import benny from 'benny';
import { RX_MESSAGES, SLOT_BYTES, SLOT_FRAME_OFFSET, SLOT_VXLAN_OFFSET } from '../../src/dataplane/arena.js';
import { decapsulateMessage } from '../../src/dataplane/decap.js';
import { encapsulate } from '../../src/dataplane/encap.js';
import { flushAggregate } from '../../src/dataplane/tap-tx.js';
import { makeBenchContext, PEER_WORD, tcpSuperframe } from './bench-context.js';

const SEGMENTS = 44;
const MSS_BYTES = 1398;

const { context, network } = makeBenchContext();
const { arena } = context;
const message = tcpSuperframe(SEGMENTS, MSS_BYTES);
const frame = arena.tapArea + SLOT_FRAME_OFFSET;

function split(): void {
  // The virtio header that the TAP would have written, over the VXLAN header of the round before.
  arena.bytes.set(virtioHeader, frame - 10);
  encapsulate(context, network, frame, message.length - 10);
  context.txCounts.fill(0);
  context.txIovecCounts.fill(0);
  context.txOpen.fill(-1);
  context.headerBlockCount = 0;
}
const virtioHeader = message.slice(0, 10);
arena.bytes.set(message, frame - 10);

/** The datagrams that split() has made, one behind the other as UDP_GRO hands them over. */
function train(): Uint8Array {
  arena.bytes.set(virtioHeader, frame - 10);
  encapsulate(context, network, frame, message.length - 10);
  const socket = context.txCounts.findIndex((count) => count > 0);
  const bytes: number[] = [];
  const iovecs = (arena.txIovecs >> 2) + socket * 4096;
  for (let i = 0; i < (context.txIovecCounts[socket] as number); i++) {
    const at = ((arena.words[iovecs + i * 4] as number) - arena.baseLow) | 0;
    bytes.push(...arena.bytes.subarray(at, at + (arena.words[iovecs + i * 4 + 2] as number)));
  }
  return Uint8Array.from(bytes);
}
const datagrams = train();
const datagramBytes = datagrams.length / SEGMENTS;
const slots = Array.from({ length: RX_MESSAGES }, (_, i) => arena.rxSlots + i * SLOT_BYTES + SLOT_VXLAN_OFFSET);
for (const slot of slots) arena.bytes.set(datagrams, slot);
// What a round leaves changed in the head: its VXLAN header and its own headers.
const head = datagrams.slice(0, 128);

let turn = 0;
function coalesceTrain(): void {
  const slot = slots[turn++ & 3] as number;
  arena.bytes.set(head, slot);
  decapsulateMessage(context, slot, datagrams.length, datagramBytes, context.vteps.indexOfSource(PEER_WORD), false);
  flushAggregate(context);
}

await benny.suite(
  `a superframe of ${SEGMENTS} segments of ${MSS_BYTES} bytes`,
  benny.add('encapsulate and split', split),
  benny.add('decapsulate and coalesce', coalesceTrain),
  benny.cycle(),
  benny.complete(),
);
