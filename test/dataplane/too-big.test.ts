/** A kernel that refuses datagrams for their size: who sent them is told, and nothing else suffers. */
import koffi from 'koffi';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { TOO_BIG_ANSWERED } from '../../src/shared/counters.js';
import { fdbKeyHigh, KIND_STATIC } from '../../src/shared/fdb.js';
import { EMSGSIZE } from '../../src/sys/errno.js';
import type * as Libc from '../../src/sys/libc.js';
import { ALL_OFFLOADS, Harness, tapMessage, vxlanDatagram } from './harness.js';
import { BASE_SPEC, emitFrame, emitSuperframe, payloadOf } from './reference/frame-spec.js';
import { segmentReference } from './reference/segment.js';

const PORT = 24_797;
const PATH_MTU = 1400;
/** Outer IPv4 20, UDP 8, VXLAN 8. */
const ROOM = PATH_MTU - 36;

const path = vi.hoisted(() => ({
  mtu: 0,
  /** @returns the datagrams' size of the message at the address */
  sizeOf: (_address: number): number => 0,
}));
vi.mock('../../src/sys/path-mtu.js', () => ({ pathMtu: () => path.mtu }));
vi.mock('../../src/sys/libc.js', async (importOriginal) => {
  const libc = await importOriginal<typeof Libc>();
  return {
    ...libc,
    sendmmsg(fd: number, messages: number, count: number, flags: number) {
      let accepted = 0;
      while (accepted < count && path.sizeOf(messages + accepted * 64) + 28 <= path.mtu) accepted++;
      if (accepted > 0) return libc.sendmmsg(fd, messages, accepted, flags);
      koffi.errno(EMSGSIZE);
      return -1;
    },
  };
});

let harness: Harness;
let peer: number;

beforeEach(() => {
  path.mtu = PATH_MTU;
  harness = new Harness(PORT, {
    learning: false,
    offloads: ALL_OFFLOADS,
    mtuBytes: 9000,
    sources: 1,
    deepQueues: true,
  });
  peer = harness.addPeer(2);
  harness.fdb.set(3, fdbKeyHigh(0x0200, harness.networkIndex), KIND_STATIC, peer, 0);
  const { arena } = harness.context;
  path.sizeOf = (address) => {
    const header = (address - arena.base) >> 2;
    const iovecs = ((arena.words[header + 4] as number) - arena.baseLow) >> 2;
    const control = arena.words[header + 10] as number;
    if (control > 0) return arena.words[(((arena.words[header + 8] as number) - arena.baseLow) >> 2) + 4] as number;
    let bytes = 0;
    for (let i = 0; i < (arena.words[header + 6] as number); i++) bytes += arena.words[iovecs + i * 4 + 2] as number;
    return bytes;
  };
});
afterEach(() => harness.close());

const emit = (payloadBytes: number, changes = {}) =>
  emitFrame({ ...BASE_SPEC, payload: payloadOf(payloadBytes, payloadBytes), ...changes });
const mtuOf = (message: Uint8Array) => new DataView(message.buffer).getUint16(10 + 14 + 20 + 6);

describe('a frame that is larger than the path', () => {
  it('is dropped and answered, the others before and after it go', () => {
    const [before, large, after] = [emit(100), emit(1400), emit(200)];
    harness.fromContainer(...[before, large, after].map((bytes) => tapMessage(bytes)));
    expect(harness.toPeer(peer)).toEqual([vxlanDatagram(before), vxlanDatagram(after)]);
    const answers = harness.toContainer();
    expect(answers).toHaveLength(1);
    expect(mtuOf(answers[0] as Uint8Array)).toBe(ROOM - 14);
    expect(harness.drops()).toEqual({ too_big: 1 });
    expect(harness.counter(TOO_BIG_ANSWERED)).toBe(1);
  });

  it('is one byte too long: the largest that fits is not', () => {
    const overhead = 14 + 20 + 20;
    harness.fromContainer(tapMessage(emit(ROOM - overhead)), tapMessage(emit(ROOM - overhead + 1)));
    expect(harness.toPeer(peer)).toHaveLength(1);
    expect(harness.drops()).toEqual({ too_big: 1 });
  });

  it('is dropped without a word where nobody may be told', () => {
    harness.fromContainer(tapMessage(emit(1400, { fragmentField: 0 })));
    expect(harness.toContainer()).toEqual([]);
    expect(harness.drops()).toEqual({ too_big: 1 });
    expect(harness.counter(TOO_BIG_ANSWERED)).toBe(0);
  });

  it('is told of at most 256 times a second', () => {
    const large = tapMessage(emit(1400));
    for (let i = 0; i < 300; i++) harness.fromContainer(large);
    expect(harness.counter(TOO_BIG_ANSWERED)).toBe(256);
    expect(harness.drops()).toEqual({ too_big: 300 });
    harness.toContainer();
    harness.context.nowSeconds++;
    harness.fromContainer(large);
    expect(harness.toContainer()).toHaveLength(1);
  });
});

describe('a superframe whose segments are larger than the path', () => {
  it('is answered; its last segment, which fits, goes; smaller segments go as a run again', () => {
    const large = emitSuperframe({ ...BASE_SPEC, payload: payloadOf(4300, 1) }, 1400);
    harness.fromContainer(large);
    const segments = segmentReference(large);
    expect(harness.toPeer(peer)).toEqual([vxlanDatagram(segments.at(-1) as Uint8Array)]);
    const answers = harness.toContainer();
    expect(answers).toHaveLength(3);
    expect(mtuOf(answers[0] as Uint8Array)).toBe(ROOM - 14);
    expect(harness.drops()).toEqual({ too_big: 3 });
    const small = emitSuperframe({ ...BASE_SPEC, payload: payloadOf(4300, 1) }, ROOM - 54);
    harness.fromContainer(small);
    expect(harness.toPeer(peer)).toEqual(segmentReference(small).map((frame) => vxlanDatagram(frame)));
  });
});

it('another reason for EMSGSIZE is an error like any other', () => {
  const { sizeOf } = path;
  path.sizeOf = (address) => (sizeOf(address) > 1000 ? 100_000 : 0);
  harness.fromContainer(tapMessage(emit(1200)));
  expect(harness.drops()).toEqual({ underlay_error: 1 });
  expect(harness.toContainer()).toEqual([]);
});
