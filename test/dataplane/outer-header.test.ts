/** What of the outer header follows the frame besides ECN: its class and its DF, where an operator has asked for it. */
import { afterEach, describe, expect, it } from 'vitest';
import { fdbKeyHigh, KIND_STATIC } from '../../src/shared/fdb.js';
import type { WorkerOuterHeader } from '../../src/shared/worker-input.js';
import { ALL_OFFLOADS, frame, Harness, tapMessage, vxlanDatagram } from './harness.js';
import { BASE_SPEC, emitFrame, type FrameSpec, payloadOf } from './reference/frame-spec.js';

const PORT = 24_796;
const NOT_DF = { fragmentField: 0 };
const ARP = frame().fill(6, 13, 14);

let harness: Harness;
let peer: number;

function open(outer: WorkerOuterHeader, sources = 1): void {
  const options = { learning: false, offloads: ALL_OFFLOADS, mtuBytes: 9000, deepQueues: true };
  harness = new Harness(PORT, { ...options, sources, outer });
  peer = harness.addPeer(2);
  harness.fdb.set(3, fdbKeyHigh(0x0200, harness.networkIndex), KIND_STATIC, peer, 0);
}
afterEach(() => harness.close());

const emit = (changes: Partial<FrameSpec>) => emitFrame({ ...BASE_SPEC, payload: payloadOf(50, 1), ...changes });

describe('TOS', () => {
  const frames = [0, 0xb8, 0xb9, 0xba, 0xbb, 0x23].map((tos) => emit({ tos }));
  frames.push(emit({ family: 6, tos: 0x2e }), ARP);

  it.each<[string, WorkerOuterHeader, number[]]>([
    ['0', { tos: 0, inheritsDscp: false, inheritsDf: false }, [0, 0, 1, 2, 2, 2, 2, 0]],
    ['fixed', { tos: 0x50, inheritsDscp: false, inheritsDf: false }, [0x50, 0x50, 0x51, 0x52, 0x52, 0x52, 0x52, 0x50]],
    ['inherited', { tos: 0, inheritsDscp: true, inheritsDf: false }, [0, 0xb8, 0xb9, 0xba, 0xba, 0x22, 0x2e, 0]],
  ])('%s', (_name, outer, expected) => {
    open(outer);
    // Each alone, and all in one batch.
    for (const bytes of frames) harness.fromContainer(tapMessage(bytes));
    harness.fromContainer(...frames.map((bytes) => tapMessage(bytes)));
    const all = [...frames, ...frames].map((bytes) => vxlanDatagram(bytes));
    expect(harness.toPeerWithTos(peer)).toEqual(
      all.map((datagram, i) => ({ tos: expected[i % expected.length], datagram })),
    );
  });
});

describe('DF', () => {
  /** Which socket of the pool a frame leaves by. */
  function placeOf(bytes: Uint8Array): number {
    const { context } = harness;
    const fds = [...context.txFds];
    for (const [i, fd] of fds.entries()) {
      // All but one can't send.
      context.txFds.fill(-1);
      context.txFds[i] = fd;
      harness.fromContainer(tapMessage(bytes));
      context.txFds.set(fds);
      if (harness.toPeer(peer).length === 1) return i;
    }
    throw new Error('no socket has sent it');
  }

  it('inherited: packets with DF, and IPv6, leave by the upper half of the sockets, the others by the lower', () => {
    open({ tos: 0, inheritsDscp: false, inheritsDf: true }, 8);
    const places = { set: new Set<number>(), unset: new Set<number>() };
    for (let port = 1; port <= 40; port++) {
      places.set.add(placeOf(emit({ sourcePort: port })));
      places.set.add(placeOf(emit({ sourcePort: port, vlanIds: [3] })));
      places.set.add(placeOf(emit({ sourcePort: port, family: 6 })));
      places.unset.add(placeOf(emit({ sourcePort: port, ...NOT_DF })));
      places.unset.add(placeOf(emit({ sourcePort: port, vlanIds: [3], ...NOT_DF })));
    }
    places.unset.add(placeOf(ARP));
    expect([...places.set].sort()).toEqual([4, 5, 6, 7]);
    expect([...places.unset].sort()).toEqual([0, 1, 2, 3]);
  });

  it('else: the flow alone picks the socket', () => {
    open({ tos: 0, inheritsDscp: false, inheritsDf: false }, 8);
    const used = new Set<number>();
    for (let port = 1; port <= 40; port++) {
      const place = placeOf(emit({ sourcePort: port }));
      expect(placeOf(emit({ sourcePort: port, ...NOT_DF }))).toBe(place);
      used.add(place);
    }
    expect(used.size).toBe(8);
  });
});
