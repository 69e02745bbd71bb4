/**
 * Frames and datagrams of every kind, from a seed, for the differential test: the same list goes through the kernel's VXLAN
 * and through vtep. Test support.
 *
 * A frame is known again by its MACs: the source is 02:dd:..., or the destination where the source is what the kind is
 * about. The two last bytes number it.
 */
import { Random } from '../chaos/random.js';
import { BASE_SPEC, emitFrame, type FrameSpec, payloadOf } from '../dataplane/reference/frame-spec.js';
import { TCP, UDP } from '../dataplane/reference/packet.js';
import * as make from '../hostile/headers.js';

export interface Kind {
  /** As in docs/interop.md. */
  readonly name: string;
  readonly frames: readonly Uint8Array[];
}

/** What only the receiver's end knows. */
export interface Places {
  /** The receiver's own MAC: an interface's of its host. */
  readonly own: Uint8Array;
  /** A MAC that the receiver knows to be behind another VTEP. */
  readonly elsewhere: Uint8Array;
}

const MTU_BYTES = 1450;

export function isMarked(frame: Uint8Array): boolean {
  return (frame[0] === 2 && frame[1] === 0xdd) || (frame[6] === 2 && frame[7] === 0xdd);
}

export function makeKinds(seed: number, { own, elsewhere }: Places): Kind[] {
  const random = new Random(seed);
  let count = 0;
  const number = () => make.octets(2, 0xdd, 0, 0, count >> 8, count & 0xff);
  /** With a destination that nobody knows, and a source of its own. */
  const unicast = (bytes: Uint8Array): Uint8Array => {
    count++;
    const frame = Uint8Array.from(bytes);
    frame.set(make.octets(2, 0xde, 0, 0, count >> 8, count & 0xff), 0);
    frame.set(number(), 6);
    return frame;
  };
  const to = (destination: Uint8Array, bytes: Uint8Array) => {
    const frame = unicast(bytes);
    frame.set(destination, 0);
    return frame;
  };
  const from = (source: Uint8Array, bytes: Uint8Array) => {
    const frame = unicast(bytes);
    frame.set(number(), 0);
    frame.set(source, 6);
    return frame;
  };
  const payload = (bytes = random.between(1, 200)) => payloadOf(bytes, random.between(1, 1_000_000));
  const spec = (more: Partial<FrameSpec> = {}): FrameSpec => ({
    ...BASE_SPEC,
    family: random.pick([4, 6] as const),
    protocol: random.pick([TCP, UDP] as const),
    sourcePort: random.between(1024, 65_000),
    tos: random.pick([0, 0, 0xb8, 1, 2, 3]),
    payload: payload(),
    ...more,
  });
  const ip = (more: Partial<FrameSpec> = {}) => emitFrame(spec(more));
  const none = new Uint8Array(6);
  const frame = (type: number, body: Uint8Array) => make.ethernet(none, none, type, body);
  const four = (protocol: number, body: Uint8Array, more: make.Ipv4Options = {}) =>
    frame(0x0800, make.ipv4(protocol, body, more));
  const six = (protocol: number, body: Uint8Array, chain: [number, Uint8Array][] = []) =>
    frame(0x86dd, make.ipv6(protocol, body, chain));
  const mac = make.octets(2, 0xdd, 9, 9, 9, 9);
  const target = make.octets(0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9);
  const many = (times: number, one: () => Uint8Array) => Array.from({ length: times }, one);
  const faults = [
    'bad checksum',
    'bad header checksum',
    'no checksum',
    'padding',
    'false length',
    'cut short',
  ] as const;

  const kinds: Record<string, Uint8Array[]> = {
    'tcp-udp': many(24, () => unicast(ip())),
    'tcp-udp-edge': [MTU_BYTES, MTU_BYTES - 1, MTU_BYTES - 2].flatMap((bytes) =>
      [4 as const, 6 as const].map((family) =>
        unicast(ip({ family, protocol: UDP, payload: payload(bytes - 8 - (family === 4 ? 20 : 40)) })),
      ),
    ),
    'tcp-flags': many(8, () =>
      unicast(ip({ protocol: TCP, flags: random.between(0, 255), payload: new Uint8Array(0) })),
    ),
    'ip-faults': faults.flatMap((fault) => many(3, () => unicast(ip({ fault })))),
    'ip-options': many(4, () => unicast(ip({ family: 4, ipOptions: new Uint8Array(8).fill(1) }))),
    'ipv6-extensions': many(6, () =>
      unicast(
        six(UDP, payload(), [
          [make.HOP_BY_HOP, make.extension(0)],
          [make.DESTINATION_OPTIONS, make.extension(2)],
        ]),
      ),
    ),
    fragments: [
      ...[0x2000, 0x2010, 0x0020].map((fragment) => unicast(four(UDP, payload(64), { fragment }))),
      ...[1, 0x11, 0x20].map((field) => unicast(six(UDP, payload(64), [[make.FRAGMENT, make.fragmentHeader(field)]]))),
    ],
    icmp: [
      ...many(3, () => unicast(four(make.ICMP, make.icmp4(8, 0, payload())))),
      ...many(3, () => unicast(six(make.ICMP6, make.icmp6(128, 0, payload())))),
      unicast(four(make.ICMP, make.icmp4(3, 4, make.ipv4(TCP, payload(8))))),
    ],
    'other-protocols': [4, 41, 47, 50, 89, 132, 255].map((protocol) => unicast(four(protocol, payload()))),
    'other-ethertypes': [0x88cc, 0x8847, 0x8864, 0x9000, 0xffff, 0x0101, 38].map((type) =>
      unicast(frame(type, payload(60))),
    ),
    'vlan-one': many(6, () => unicast(ip({ vlanIds: [random.between(0, 4095)] }))),
    'vlan-two': many(6, () => unicast(ip({ vlanIds: [random.between(1, 4094), random.between(1, 4094)] }))),
    'vlan-three': many(3, () => unicast(make.tagged(ip(), [0x88a8, 0x8100, 0x8100]))),
    arp: [
      [1, 0x0a00_0002],
      [1, 0],
      [2, 0x0a00_0002],
    ].flatMap(([operation, sender]) => {
      const body = make.arp(operation as number, mac, sender as number, none, 0x0a00_0009);
      return [unicast(frame(0x0806, body)), to(make.octets(255, 255, 255, 255, 255, 255), frame(0x0806, body))];
    }),
    'neighbour-discovery': [133, 134, 135, 136].flatMap((type) => {
      const message = make.icmp6(type, 0, make.octets(0, 0, 0, 0, ...target, ...make.ndOption(1, mac)));
      return [unicast(six(make.ICMP6, message)), to(make.octets(0x33, 0x33, 0xff, 0, 0, 9), six(make.ICMP6, message))];
    }),
    'igmp-mld': [
      to(make.octets(1, 0, 0x5e, 1, 2, 3), four(make.IGMP, make.icmp4(0x16, 0, make.octets(239, 1, 2, 3)))),
      to(make.octets(1, 0, 0x5e, 0, 0, 1), four(make.IGMP, make.icmp4(0x11, 10, make.octets(0, 0, 0, 0)))),
      to(make.octets(0x33, 0x33, 0, 0, 0, 0x16), six(make.ICMP6, make.icmp6(143, 0, make.groupRecords([target], [])))),
    ],
    broadcast: many(4, () => to(make.octets(255, 255, 255, 255, 255, 255), ip())),
    multicast: many(4, () => to(make.octets(1, 0, 0x5e, random.between(0, 127), 1, 1), ip())),
    'link-local-multicast': [0, 1, 2, 3, 0x0e].map((last) =>
      to(make.octets(1, 0x80, 0xc2, 0, 0, last), frame(0x88cc, payload(60))),
    ),
    'odd-sizes': many(12, () => unicast(frame(0x88b5, payload(random.between(1, 1300))))),
    'header-only': [0x88b5, 0x0806, 0x0004].map((type) => unicast(frame(type, new Uint8Array(0)))),
    'short-ipv4': [0, 1, 19].map((bytes) => unicast(frame(0x0800, new Uint8Array(bytes).fill(0x45)))),
    'short-ipv6': [0, 1, 39].map((bytes) => unicast(frame(0x86dd, new Uint8Array(bytes).fill(0x60)))),
    'wrong-ip-version': [
      unicast(frame(0x0800, make.ipv6(UDP, payload()))),
      unicast(frame(0x86dd, make.ipv4(UDP, payload(64)))),
    ],
    'vxlan-in-vxlan': many(3, () => unicast(four(UDP, make.udp(50_000, 4789, make.vxlan(1, ip()))))),
    'source-zero': many(2, () => from(none, ip())),
    'source-multicast': [make.octets(1, 0, 0x5e, 0, 0, 1), make.octets(255, 255, 255, 255, 255, 255)].map((source) =>
      from(source, ip()),
    ),
    'source-own': many(2, () => from(own, ip())),
    'source-elsewhere': many(2, () => from(elsewhere, ip())),
    'runt-1': [unicast(frame(0x88b5, new Uint8Array(0))).slice(0, 13)],
    jumbo: [MTU_BYTES + 19, 2000, 9000].map((bytes) => unicast(frame(0x88b5, payload(bytes)))),
  };
  return Object.entries(kinds).map(([name, frames]) => ({ name, frames }));
}

export interface DatagramKind {
  readonly name: string;
  readonly datagrams: readonly Uint8Array[];
  /** What is to come out of them, if anything does. */
  readonly frames: readonly Uint8Array[];
  /** Of the outer IP header. */
  readonly tos: number;
}

const CONGESTION_EXPERIENCED = 3;

/** Datagrams as a peer of the network might send them. */
export function makeDatagrams(seed: number, vni: number): DatagramKind[] {
  const random = new Random(seed);
  let count = 0;
  const inner = (bytes = 60, tos = 0) => {
    count++;
    const payload = payloadOf(bytes, random.between(1, 1_000_000));
    const frame = emitFrame({ ...BASE_SPEC, protocol: UDP, tos, payload });
    frame.set(make.octets(2, 0xde, 1, 0, count >> 8, count & 0xff), 0);
    frame.set(make.octets(2, 0xdd, 1, 0, count >> 8, count & 0xff), 6);
    return frame;
  };
  const headed =
    (flags: number, last = 0, of = vni) =>
    (frame: Uint8Array) =>
      Uint8Array.from(Buffer.concat([make.be32(flags), make.be32(of * 256 + last), frame]));
  const right = headed(0x0800_0000);
  const cut = (bytes: number) => (frame: Uint8Array) => right(frame).slice(0, bytes);
  const kind = (
    name: string,
    heads: ((frame: Uint8Array) => Uint8Array)[],
    frames?: Uint8Array[],
    tos = 0,
  ): DatagramKind => {
    const carried = frames ?? heads.map(() => inner());
    return { name, frames: carried, datagrams: carried.map((frame, i) => (heads[i] ?? right)(frame)), tos };
  };
  return [
    kind('plain', [], [inner(1), inner(60), inner(1400)]),
    kind('empty', [cut(0), cut(0)]),
    kind('short-header', [1, 4, 7].map(cut)),
    kind('no-frame', [8, 9, 21].map(cut)),
    kind(
      'no-i-flag',
      [0, 0xf700_0000].map((flags) => headed(flags)),
    ),
    kind(
      'reserved-flags',
      [0x8800_0000, 0x0c00_0000, 0x0900_0000, 0x0880_0000, 0x0800_0001, 0x0828_0000].map((flags) => headed(flags)),
    ),
    kind(
      'reserved-last-byte',
      [1, 0x80, 0xff].map((last) => headed(0x0800_0000, last)),
    ),
    kind(
      'unknown-vni',
      [0xabcd, 0, 0xff_ffff].map((of) => headed(0x0800_0000, 0, of)),
    ),
    kind('jumbo', [], [inner(1500), inner(9000), inner(65_000)]),
    kind('outer-ce-inner-not-ect', [], [inner(60, 0), inner(1, 0), inner(900, 0)], CONGESTION_EXPERIENCED),
    kind('outer-ce-inner-ect', [], [inner(60, 1), inner(60, 2)], CONGESTION_EXPERIENCED),
    kind('outer-ce-inner-ce', [], [inner(60, 3)], CONGESTION_EXPERIENCED),
  ];
}
