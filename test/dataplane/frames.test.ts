/** Frames in, frames out, and what was counted: every step of a worker, over real sockets, without its thread. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BURST_FRAMES } from '../../src/dataplane/arena.js';
import { drainTap } from '../../src/dataplane/tap-rx.js';
import {
  CHECKSUMS_COMPLETED,
  CHECKSUMS_PARTIAL,
  DECAP_FRAMES,
  ENCAP_FRAMES,
  FLOOD_COPIES,
  FLOODED_FRAMES,
} from '../../src/shared/counters.js';
import { EVENT_CONFLICT, EVENT_LEARN } from '../../src/shared/event-ring.js';
import { fdbKeyHigh, KIND_DYNAMIC, KIND_LOCAL, KIND_STATIC } from '../../src/shared/fdb.js';
import {
  completeChecksum,
  isChecksumSound,
  pseudoHeaderSumIpv4,
  pseudoHeaderSumIpv6,
} from '../../src/wire/checksum.js';
import { frame, Harness, tapMessage, VNI, vxlanDatagram } from './harness.js';

const PORT = 24_789;
let harness: Harness;

beforeEach(() => {
  harness = new Harness(PORT);
});
afterEach(() => harness.close());

/** Makes 02:00:00:00:00:<last> known. */
function know(last: number, kind: number, vtep: number): void {
  harness.fdb.set(last, fdbKeyHigh(0x0200, harness.networkIndex), kind, vtep, 0);
}

describe('encapsulation', () => {
  it('sends a known unicast frame to its VTEP only, byte for byte behind the VXLAN header', () => {
    const [here, there] = [harness.addPeer(2), harness.addPeer(3)];
    know(3, KIND_STATIC, there);
    harness.fromContainer(tapMessage(frame()));
    expect(harness.toPeer(there)).toEqual([vxlanDatagram(frame())]);
    expect(harness.toPeer(here)).toEqual([]);
    expect([harness.counter(ENCAP_FRAMES), harness.counter(FLOODED_FRAMES)]).toEqual([1, 0]);
    expect(harness.drops()).toEqual({});
  });

  it.each([
    ['broadcast', 'ffffffffffff'],
    ['multicast', '01005e000001'],
    ['unknown unicast', '0200000000aa'],
  ])('floods %s to every member and to nobody else', (_name, to) => {
    const members = [2, 3, 40].map((last) => harness.addPeer(last));
    const stranger = harness.addPeer(5, false);
    harness.fromContainer(tapMessage(frame({ to })));
    for (const member of members) expect(harness.toPeer(member)).toEqual([vxlanDatagram(frame({ to }))]);
    expect(harness.toPeer(stranger)).toEqual([]);
    expect([harness.counter(FLOODED_FRAMES), harness.counter(FLOOD_COPIES)]).toEqual([1, 3]);
  });

  it('floods a whole burst to more members than a batch holds messages', () => {
    const members = Array.from({ length: 70 }, (_, i) => harness.addPeer(10 + i));
    const messages = Array.from({ length: 8 }, (_, i) =>
      tapMessage(frame({ to: 'ffffffffffff', payload: Uint8Array.of(i) })),
    );
    harness.fromContainer(...messages);
    for (const member of members) {
      expect(harness.toPeer(member).map((datagram) => datagram.at(-1))).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    }
    expect(harness.drops()).toEqual({});
  });

  it('takes at most one burst a turn and keeps the order of a flow', () => {
    const peer = harness.addPeer(2);
    know(3, KIND_STATIC, peer);
    const count = BURST_FRAMES + 5;
    // A socket pair queues fewer messages than a TAP, so the frames come in portions.
    for (let i = 0; i < count; i++) harness.fromContainer(tapMessage(frame({ payload: Uint8Array.of(i) })));
    expect(harness.toPeer(peer).map((datagram) => datagram.at(-1))).toEqual(Array.from({ length: count }, (_, i) => i));
  });

  it('takes one frame a turn while they come one by one, and more when that was not enough', () => {
    const peer = harness.addPeer(2);
    know(3, KIND_STATIC, peer);
    const takes: number[] = [];
    harness.context.tapBurst = 1;
    harness.intoTap(...Array.from({ length: 8 }, () => tapMessage(frame())));
    for (let turn = 0; turn < 4; turn++) takes.push(drainTap(harness.context, harness.networkIndex));
    expect(takes).toEqual([1, 4, 3, 0]);
    expect(harness.context.tapBurst).toBe(1);
    expect(harness.toPeer(peer)).toHaveLength(8);
  });

  it('completes a checksum that the kernel left to us', () => {
    const peer = harness.addPeer(2);
    know(3, KIND_STATIC, peer);
    const inner = frame({ payload: Uint8Array.of(1, 2, 3) });
    const view = new DataView(inner.buffer);
    view.setUint16(40, pseudo(inner));
    // NEEDS_CSUM, csum_start 34, csum_offset 6, little-endian.
    harness.fromContainer(tapMessage(inner, '01000000000022000600'));
    const [datagram] = harness.toPeer(peer);
    const sent = (datagram as Uint8Array).slice(8);
    expect(isChecksumSound(sent, 34, 11, pseudoHeaderSumIpv4(sent, 14, 17, 11))).toBe(true);
    expect(harness.counter(CHECKSUMS_COMPLETED)).toBe(1);
    sent[40] = inner[40] as number;
    sent[41] = inner[41] as number;
    expect(sent).toEqual(inner);
  });

  it('goes on with the others when the kernel refuses one VTEP', () => {
    // 240.0.0.1 has no route: the kernel answers EINVAL, ENETUNREACH or the like.
    const dead = harness.vteps.add(Uint8Array.of(240, 0, 0, 1), PORT);
    harness.networks.addMember(harness.networkIndex, dead);
    const live = harness.addPeer(2);
    harness.fromContainer(tapMessage(frame({ to: 'ffffffffffff' })));
    expect(harness.toPeer(live)).toHaveLength(1);
    expect(harness.drops()).toEqual({ underlay_error: 1 });
  });

  it.each([
    ['tap_runt', () => tapMessage(new Uint8Array(13))],
    ['tap_virtio_header', () => tapMessage(frame(), '0100000000002a000600')],
    ['tap_virtio_header', () => tapMessage(frame(), '010000000000ffffffff')],
    ['tap_gso', () => tapMessage(frame(), '01030000000000000000')],
    ['oversize', () => tapMessage(new Uint8Array(65_500))],
    ['no_remote', () => tapMessage(frame({ to: 'ffffffffffff' }))],
    ['no_remote', () => tapMessage(frame())],
  ])('drops and counts: %s', (cause, message) => {
    harness.fromContainer(message());
    expect(harness.drops()).toEqual({ [cause]: 1 });
  });

  it('leaves a frame for a container of this host to the bridge', () => {
    const peer = harness.addPeer(2);
    know(3, KIND_LOCAL, 0);
    harness.fromContainer(tapMessage(frame()));
    expect(harness.toPeer(peer)).toEqual([]);
    expect(harness.drops()).toEqual({ local_destination: 1 });
  });

  it("lets nothing out that comes from the network's gateway, frame or superframe, whoever it is for", () => {
    const peer = harness.addPeer(2);
    know(3, KIND_STATIC, peer);
    const from = '027674123456';
    harness.fromContainer(
      tapMessage(frame({ from })),
      tapMessage(frame({ from, to: 'ffffffffffff' })),
      // A UDP superframe of two segments.
      tapMessage(frame({ from, payload: new Uint8Array(2000) }), '0105 2a00 e803 2200 0600'.replaceAll(' ', '')),
    );
    expect(harness.toPeer(peer)).toEqual([]);
    expect(harness.drops()).toEqual({ gateway_source: 3 });
    expect(harness.counter(ENCAP_FRAMES)).toBe(0);
  });

  it.each([
    ['one bit of the VNI differs', '027674123457'],
    ['the prefix differs', '027675123456'],
    ['the first bytes differ', '027774123456'],
    ['the gateway is the destination', '020000000002', '027674123456'],
  ])('sends what only resembles it: %s', (_name, from, to = '020000000003') => {
    const peer = harness.addPeer(2);
    harness.fromContainer(tapMessage(frame({ from, to })));
    expect(harness.toPeer(peer)).toHaveLength(1);
    expect(harness.drops()).toEqual({});
  });
});

describe('decapsulation', () => {
  it('hands the frame to the TAP behind an empty virtio header', () => {
    const peer = harness.addPeer(2);
    for (const bytes of [0, 1, 18, 1408, 1422]) {
      const inner = frame({ payload: new Uint8Array(bytes).fill(0xa5) });
      harness.fromPeer(peer, vxlanDatagram(inner));
      expect(harness.toContainer()).toEqual([tapMessage(inner)]);
    }
    expect(harness.counter(DECAP_FRAMES)).toBe(5);
    expect(harness.drops()).toEqual({});
  });

  it('marks a checksum that the sender has left unfinished, and no finished one', () => {
    const peer = harness.addPeer(2);
    const inner = frame({ payload: Uint8Array.of(1, 2, 3) });
    const view = new DataView(inner.buffer);
    view.setUint16(40, pseudo(inner));
    harness.fromPeer(peer, vxlanDatagram(inner));
    expect(harness.toContainer()).toEqual([tapMessage(inner, '01000000000022000600')]);
    completeChecksum(inner, 0, inner.length, 34, 6);
    harness.fromPeer(peer, vxlanDatagram(inner));
    expect(harness.toContainer()).toEqual([tapMessage(inner)]);
    expect(harness.counter(CHECKSUMS_PARTIAL)).toBe(1);
  });

  it.each([
    ['IPv4', '0800', 20, '01', 1410],
    ['IPv6', '86dd', 40, '04', 1390],
  ])(
    'hands a TCP superframe over %s on with the segment size that the MTU allows',
    (_name, type, ipBytes, gso, size) => {
      const peer = harness.addPeer(2);
      const inner = superframe(type, ipBytes, 20_000);
      harness.fromPeer(peer, vxlanDatagram(inner));
      const start = 14 + ipBytes;
      const header = [0x01, Number.parseInt(gso, 16), ...le16(start + 20), ...le16(size), ...le16(start), ...le16(16)];
      expect(harness.toContainer()).toEqual([tapMessage(inner, Buffer.from(header).toString('hex'))]);
      expect(harness.drops()).toEqual({});
    },
  );

  it.each([
    ['invalid_hdr', () => new Uint8Array(0)],
    ['invalid_hdr', () => vxlanDatagram(new Uint8Array(0)).slice(0, 7)],
    ['no_vni_flag', () => vxlanDatagram(frame(), { flags: '00000000' })],
    ['no_vni_flag', () => vxlanDatagram(frame(), { flags: 'f7000000' })],
    ['vni_not_found', () => vxlanDatagram(frame(), { vni: VNI + 1 })],
    ['vni_not_found', () => vxlanDatagram(frame(), { vni: 0 })],
    ['reserved_bits', () => vxlanDatagram(frame(), { flags: '08000001' })],
    ['reserved_bits', () => vxlanDatagram(frame(), { flags: '88000000' })],
    ['reserved_bits', () => vxlanDatagram(frame(), { last: '01' })],
    ['inner_runt', () => vxlanDatagram(new Uint8Array(0))],
    ['inner_runt', () => vxlanDatagram(frame().slice(0, 13))],
    ['mac_invalid_source', () => vxlanDatagram(frame({ from: '010000000002' }))],
    ['mac_invalid_source', () => vxlanDatagram(frame({ from: '000000000000' }))],
    ['inner_oversize', () => vxlanDatagram(frame({ payload: new Uint8Array(1423) }))],
  ])('drops and counts: %s', (cause, datagram) => {
    harness.fromPeer(harness.addPeer(2), datagram());
    expect(harness.toContainer()).toEqual([]);
    expect(harness.drops()).toEqual({ [cause]: 1 });
  });

  it('takes datagrams from members of the network only, and none from itself', () => {
    const stranger = harness.addPeer(2, false);
    harness.fromPeer(stranger, vxlanDatagram(frame()));
    harness.fromSelf(vxlanDatagram(frame()));
    expect(harness.toContainer()).toEqual([]);
    expect(harness.drops()).toEqual({ vtep_not_member: 1, source_self: 1 });
    harness.networks.addMember(harness.networkIndex, stranger);
    harness.fromPeer(stranger, vxlanDatagram(frame()));
    expect(harness.toContainer()).toHaveLength(1);
  });

  it('refuses a registered MAC behind another VTEP, and a local one, and tells the main thread', () => {
    const [owner, other] = [harness.addPeer(2), harness.addPeer(3)];
    know(2, KIND_STATIC, owner);
    harness.fromPeer(other, vxlanDatagram(frame()));
    harness.fromPeer(owner, vxlanDatagram(frame()));
    know(2, KIND_LOCAL, 0);
    harness.fromPeer(owner, vxlanDatagram(frame()));
    expect(harness.toContainer()).toHaveLength(1);
    expect(harness.drops()).toEqual({ entry_exists: 1, local_mac: 1 });
    expect(events().map((event) => [event[0], event[3]])).toEqual([
      [EVENT_CONFLICT, other],
      [EVENT_CONFLICT, owner],
    ]);
  });

  it('reports a new and a moved source MAC once a second, and stamps a known one', () => {
    const [first, second] = [harness.addPeer(2), harness.addPeer(3)];
    harness.context.nowSeconds = 50;
    harness.fromPeer(first, vxlanDatagram(frame()));
    harness.fromPeer(first, vxlanDatagram(frame()));
    expect(events()).toEqual([[EVENT_LEARN, harness.networkIndex, 2, first]]);
    know(2, KIND_DYNAMIC, first);
    harness.fromPeer(first, vxlanDatagram(frame()));
    expect(events()).toEqual([]);
    expect(harness.fdb.removeIdle(50)).toBe(0);
    harness.fromPeer(second, vxlanDatagram(frame()));
    expect(events()).toEqual([[EVENT_LEARN, harness.networkIndex, 2, second]]);
    expect(harness.toContainer()).toHaveLength(4);
  });

  it('learns nothing where learning is off', () => {
    harness.close();
    harness = new Harness(PORT, { learning: false });
    harness.fromPeer(harness.addPeer(2), vxlanDatagram(frame()));
    expect(harness.toContainer()).toHaveLength(1);
    expect(events()).toEqual([]);
  });

  it('counts what the TAP refuses', () => {
    const peer = harness.addPeer(2);
    let sent = 0;
    // Nobody reads: the pair fills up, as a TAP's queue would.
    while (harness.drops().tap_busy === undefined && sent < 1000) {
      harness.fromPeer(peer, vxlanDatagram(frame()));
      sent++;
    }
    expect(harness.drops()).toEqual({ tap_busy: 1 });
    expect(harness.counter(DECAP_FRAMES)).toBe(sent - 1);
  });
});

function events(): number[][] {
  const found: number[][] = [];
  harness.context.events.drain((type, network, low, _high, vtep) => {
    found.push([type, network, low, vtep]);
  });
  return found;
}

const le16 = (value: number) => [value & 0xff, value >> 8];

/** Ethernet, IP and TCP with the pseudo-header's sum in the checksum field: what the kernel leaves for hardware. */
function superframe(type: string, ipBytes: number, payloadBytes: number): Uint8Array {
  const bytes = new Uint8Array(14 + ipBytes + 20 + payloadBytes).fill(0x5a, 14 + ipBytes + 20);
  const view = new DataView(bytes.buffer);
  bytes.set([2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 2, ...Buffer.from(type, 'hex')]);
  const tcpBytes = 20 + payloadBytes;
  if (ipBytes === 20) {
    bytes[14] = 0x45;
    view.setUint16(16, ipBytes + tcpBytes);
    bytes[23] = 6;
    view.setUint16(14 + ipBytes + 16, pseudoHeaderSumIpv4(bytes, 14, 6, tcpBytes));
  } else {
    bytes[14] = 0x60;
    view.setUint16(18, tcpBytes);
    bytes[20] = 6;
    view.setUint16(14 + ipBytes + 16, pseudoHeaderSumIpv6(bytes, 14, 6, tcpBytes));
  }
  bytes[14 + ipBytes + 12] = 0x50;
  return bytes;
}

function pseudo(inner: Uint8Array): number {
  let sum = pseudoHeaderSumIpv4(inner, 14, 17, inner.length - 34);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}
