/**
 * A kernel that refuses superframes: its answers are put before the real ones of writev and sendmmsg, since no kernel at
 * hand has these faults. What is refused arrives all the same, byte for byte, counted, and is not asked for again.
 */
import fc from 'fast-check';
import koffi from 'koffi';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  DECAP_FRAMES,
  SUPERFRAMES_COALESCED,
  TAP_GSO_REFUSED,
  VTEP_COUNTERS,
  VTEP_COUNTERS_START,
  VTEP_TX_DATAGRAMS,
  VTEP_TX_ERRORS,
  VTEP_TX_GSO_REFUSED,
} from '../../src/shared/counters.js';
import { fdbKeyHigh, KIND_STATIC } from '../../src/shared/fdb.js';
import {
  CMSG_TYPE_WORD,
  GSO_CONTROL_BYTES,
  MMSGHDR_WORDS,
  MSG_CONTROL_WORD,
  MSG_CONTROLLEN_WORD,
  MSG_IOV_WORD,
  UDP_SEGMENT,
} from '../../src/sys/batch-io.js';
import { EAGAIN, EINVAL, EIO, EMSGSIZE } from '../../src/sys/errno.js';
import type * as Libc from '../../src/sys/libc.js';
import { deliveries, trainsOf } from './deliveries.js';
import { ALL_OFFLOADS, Harness, vxlanDatagram } from './harness.js';
import { frameStreams, superframes } from './reference/arbitraries.js';
import { BASE_SPEC, emitFrame, emitSuperframe, type FrameSpec, payloadOf } from './reference/frame-spec.js';
import { areEqual } from './reference/octets.js';
import { TCP, UDP } from './reference/packet.js';
import { segmentReference } from './reference/segment.js';

const PORT = 24_791;

/** What the kernel is made to answer: an errno for calls that match, from the first on. */
const kernel = vi.hoisted(() => ({
  tapErrno: (_iovecs: number): number => 0,
  /** @returns an errno for a message, by its place in memory */
  messageErrno: (_address: number): number => 0,
}));

vi.mock('../../src/sys/libc.js', async (importOriginal) => {
  const libc = await importOriginal<typeof Libc>();
  const fail = (errno: number) => {
    koffi.errno(errno);
    return -1;
  };
  return {
    ...libc,
    writev(fd: number, iovecs: number, count: number) {
      const errno = kernel.tapErrno(count);
      return errno === 0 ? libc.writev(fd, iovecs, count) : fail(errno);
    },
    sendmmsg(fd: number, messages: number, count: number, flags: number) {
      let accepted = 0;
      while (accepted < count && kernel.messageErrno(messages + accepted * MMSGHDR_WORDS * 4) === 0) accepted++;
      if (accepted > 0) return libc.sendmmsg(fd, messages, accepted, flags);
      return fail(kernel.messageErrno(messages));
    },
  };
});

let harness: Harness;
let peer: number;

beforeEach(() => {
  harness = new Harness(PORT, {
    learning: false,
    offloads: ALL_OFFLOADS,
    mtuBytes: 9000,
    sources: 1,
    deepQueues: true,
  });
  peer = harness.addPeer(2);
  harness.fdb.set(3, fdbKeyHigh(0x0200, harness.networkIndex), KIND_STATIC, peer, 0);
});
afterEach(() => {
  kernel.tapErrno = () => 0;
  kernel.messageErrno = () => 0;
  harness.close();
});

function flow(protocol: FrameSpec['protocol'], family: FrameSpec['family'], count = 5): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => {
    const spec = { ...BASE_SPEC, protocol, family, id: i + 1, sequence: 1000 + i * 1000 };
    return emitFrame({ ...spec, flags: i === count - 1 ? 0x18 : 0x10, payload: payloadOf(1000, i) });
  });
}

const arrive = (stream: Uint8Array[], cuts = [99]): Uint8Array[][] => {
  harness.trainsFromPeer(
    peer,
    trainsOf(
      stream.map((frame) => vxlanDatagram(frame)),
      cuts,
    ),
  );
  return deliveries(harness.toContainer(), stream);
};

describe('a TAP that refuses superframes (EINVAL)', () => {
  const refuse = () => {
    kernel.tapErrno = (iovecs) => (iovecs > 1 ? EINVAL : 0);
  };

  it.each([
    ['TCP over IPv4', TCP, 4, UDP],
    ['TCP over IPv6', TCP, 6, UDP],
    ['UDP over IPv4', UDP, 4, TCP],
    ['UDP over IPv6', UDP, 6, TCP],
  ] as const)(
    '%s: gets the segments as they came, and no superframe of the protocol any more',
    (_name, protocol, family, other) => {
      refuse();
      const stream = flow(protocol, family);
      expect(arrive(stream)).toHaveLength(5);
      expect(harness.counter(TAP_GSO_REFUSED)).toBe(1);
      expect(arrive(stream)).toHaveLength(5);
      expect(harness.counter(TAP_GSO_REFUSED)).toBe(1);
      kernel.tapErrno = () => 0;
      expect(arrive(flow(other, family))).toHaveLength(1);
      expect(arrive(stream)).toHaveLength(5);
      expect([harness.counter(DECAP_FRAMES), harness.counter(SUPERFRAMES_COALESCED)]).toEqual([20, 1]);
      expect(harness.drops()).toEqual({});
    },
  );

  it('whatever arrives, singly or in trains, goes on as it came', () => {
    refuse();
    const { context } = harness;
    fc.assert(
      fc.property(frameStreams, fc.array(fc.nat(99), { minLength: 1, maxLength: 9 }), (stream, cuts) => {
        context.coalesceTcp = true;
        context.coalesceUdp = true;
        const before = harness.counter(TAP_GSO_REFUSED);
        expect(arrive(stream, cuts)).toHaveLength(stream.length);
        // Once each protocol at most.
        expect(harness.counter(TAP_GSO_REFUSED) - before).toBeLessThanOrEqual(2);
      }),
      { numRuns: 60 },
    );
    expect(harness.counter(TAP_GSO_REFUSED)).toBeGreaterThan(20);
    expect(harness.drops()).toEqual({});
  });

  it('and is full besides: each segment is counted', () => {
    kernel.tapErrno = (iovecs) => (iovecs > 1 ? EINVAL : EAGAIN);
    harness.trainsFromPeer(peer, [flow(TCP, 4).map((frame) => vxlanDatagram(frame))]);
    expect(harness.drops()).toEqual({ tap_busy: 5 });
    expect(harness.counter(DECAP_FRAMES)).toBe(0);
  });

  it('a full one loses the whole superframe, counted by segments, and goes on being offered some', () => {
    kernel.tapErrno = () => EAGAIN;
    harness.trainsFromPeer(peer, [flow(TCP, 4).map((frame) => vxlanDatagram(frame))]);
    expect(harness.drops()).toEqual({ tap_busy: 5 });
    kernel.tapErrno = () => 0;
    expect(arrive(flow(TCP, 4))).toHaveLength(1);
    expect(harness.counter(TAP_GSO_REFUSED)).toBe(0);
  });
});

describe('an underlay that refuses UDP_SEGMENT', () => {
  const word = (address: number, place: number) =>
    harness.context.arena.words[((address - harness.context.arena.base) >> 2) + place] as number;
  const isRun = (address: number) => {
    const { words, baseLow } = harness.context.arena;
    const control = (word(address, MSG_CONTROL_WORD) - baseLow) >> 2;
    const bytes = word(address, MSG_CONTROLLEN_WORD);
    const last = control + ((bytes - GSO_CONTROL_BYTES) >> 2);
    return bytes > 0 && words[last + CMSG_TYPE_WORD] === UDP_SEGMENT;
  };
  const vtepCounter = (counter: number) =>
    harness.context.counters.cells[VTEP_COUNTERS_START + peer * VTEP_COUNTERS + counter] as number;
  const expectArrived = (messages: Uint8Array[]) => {
    const expected = messages.flatMap((message) => segmentReference(message)).map((frame) => vxlanDatagram(frame));
    const arrived = harness.toPeer(peer);
    expect(arrived.length).toBe(expected.length);
    expect(arrived.findIndex((datagram, i) => !areEqual(datagram, expected[i] as Uint8Array))).toBe(-1);
    return expected.length;
  };
  const superframe = (segments: number, gsoSize: number) =>
    emitSuperframe({ ...BASE_SPEC, payload: payloadOf(segments * gsoSize - 1, 1) }, gsoSize);

  it('EIO: all goes datagram by datagram, and no run to this VTEP is tried for a minute', () => {
    kernel.messageErrno = (address) => (isRun(address) ? EIO : 0);
    const message = superframe(30, 1000);
    harness.fromContainer(message, message);
    expectArrived([message, message]);
    // Both were queued before the first was refused.
    expect(vtepCounter(VTEP_TX_GSO_REFUSED)).toBe(2);
    harness.fromContainer(message, superframe(3, 10));
    expectArrived([message, superframe(3, 10)]);
    expect(vtepCounter(VTEP_TX_GSO_REFUSED)).toBe(2);
    expect(vtepCounter(VTEP_TX_DATAGRAMS)).toBe(93);
    kernel.messageErrno = () => 0;
    harness.context.allowGso();
    harness.fromContainer(message);
    expectArrived([message]);
    expect(harness.drops()).toEqual({});
  });

  it('EIO: what goes datagram by datagram keeps its outer TOS', () => {
    kernel.messageErrno = (address) => (isRun(address) ? EIO : 0);
    const message = emitSuperframe({ ...BASE_SPEC, tos: 2, payload: payloadOf(5000, 1) }, 1000);
    harness.fromContainer(message);
    expect(harness.toPeerWithTos(peer)).toEqual(
      segmentReference(message).map((frame) => ({ tos: 2, datagram: vxlanDatagram(frame) })),
    );
    expect(vtepCounter(VTEP_TX_GSO_REFUSED)).toBe(1);
  });

  it.each([
    ['EMSGSIZE', EMSGSIZE],
    ['EINVAL', EINVAL],
  ])('%s: runs of smaller datagrams go on', (_name, errno) => {
    const big = superframe(10, 1448);
    const small = superframe(10, 500);
    let runs = 0;
    kernel.messageErrno = (address) => {
      if (!isRun(address)) return 0;
      // The first iovec has the headers, the second the payload: its length is two words behind its address.
      const iovec = word(address, MSG_IOV_WORD) - harness.context.arena.baseLow;
      runs++;
      return (harness.context.arena.words[(iovec >> 2) + 6] as number) > 1000 ? errno : 0;
    };
    harness.fromContainer(big);
    expectArrived([big]);
    expect(vtepCounter(VTEP_TX_GSO_REFUSED)).toBe(1);
    runs = 0;
    harness.fromContainer(big, small);
    expectArrived([big, small]);
    expect(vtepCounter(VTEP_TX_GSO_REFUSED)).toBe(1);
    expect(runs).toBeGreaterThan(0);
    expect(harness.drops()).toEqual({});
  });

  it('whatever the TAP gives arrives whole and in order', () => {
    kernel.messageErrno = (address) => (isRun(address) ? EIO : 0);
    fc.assert(
      fc.property(fc.array(superframes, { minLength: 1, maxLength: 8 }), (messages) => {
        harness.context.allowGso();
        harness.fromContainer(...messages);
        expectArrived(messages);
      }),
      { numRuns: 20 },
    );
    expect(harness.drops()).toEqual({});
  });

  it('plain frames that have become a run go singly as well', () => {
    kernel.messageErrno = (address) => (isRun(address) ? EIO : 0);
    const messages = flow(UDP, 4, 20).map((frame) => Uint8Array.from([...new Uint8Array(10), ...frame]));
    harness.fromContainer(...messages);
    expectArrived(messages);
    expect(vtepCounter(VTEP_TX_GSO_REFUSED)).toBe(1);
  });

  it('a socket that is full in the middle of a run: the rest is counted, datagram by datagram', () => {
    let single = 0;
    kernel.messageErrno = (address) => (isRun(address) ? EIO : single++ < 4 ? 0 : EAGAIN);
    harness.fromContainer(superframe(10, 1000));
    expect(harness.toPeer(peer)).toHaveLength(4);
    expect(harness.drops()).toEqual({ underlay_busy: 6 });
    expect(vtepCounter(VTEP_TX_ERRORS)).toBe(6);
  });
});
