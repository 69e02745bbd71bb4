/**
 * Well-formed frames of every kind, to be sent as they are or to be bent (mutations.ts): made anew for each round of a run,
 * so that the fast part only copies. Test support.
 *
 * Each payload is the network's *mark*, eight bytes over and over: bytes that turn up on another network are known by it.
 */
import { BASE_SPEC, emitFrame, emitSuperframe, type FrameSpec } from '../dataplane/reference/frame-spec.js';
import { TCP, UDP } from '../dataplane/reference/packet.js';
import { GSO_NONE } from '../dataplane/reference/virtio-header.js';
import { below, chance, type Entropy } from './entropy.js';
import * as make from './headers.js';

export interface PoolFrame {
  readonly bytes: Uint8Array;
  /** Where layer 3 and the layer above begin: the fields of both are what lies. */
  readonly layer3: number;
  readonly upper: number;
}

export interface Pool {
  readonly frames: readonly PoolFrame[];
  /** Segments of a flow in sequence: of one size, the last perhaps shorter. */
  readonly trains: readonly (readonly PoolFrame[])[];
  /** What a TAP gives: virtio header and frame; superframes, and packets whose checksum is left to us. */
  readonly messages: readonly PoolFrame[];
}

export interface PoolMacs {
  readonly sources: readonly Uint8Array[];
  readonly destinations: readonly Uint8Array[];
}

const FRAMES = 160;
const TRAINS = 14;
const MESSAGES = 60;
/** With headers and a trailer still an IP packet. */
const SUPERFRAME_BYTES_MAX = 65_300;
const ACK = 0x10;
const PSH = 0x08;

export function markedPayload(mark: Uint8Array, bytes: number): Uint8Array {
  const payload = new Uint8Array(bytes);
  for (let i = 0; i < bytes; i++) payload[i] = mark[i % mark.length] as number;
  return payload;
}

export function makePool(entropy: Entropy, mark: Uint8Array, macs: PoolMacs, mtuBytes: number): Pool {
  const maker = new PoolMaker(entropy, mark, macs, mtuBytes);
  return {
    frames: Array.from({ length: FRAMES }, (_, i) => maker.frame(i)),
    trains: Array.from({ length: TRAINS }, () => maker.train()),
    messages: Array.from({ length: MESSAGES }, () => maker.message()),
  };
}

class PoolMaker {
  constructor(
    readonly entropy: Entropy,
    readonly mark: Uint8Array,
    readonly macs: PoolMacs,
    readonly mtuBytes: number,
  ) {}

  /** One of each kind in turn, so that none is missing. */
  frame(index: number): PoolFrame {
    const kinds = KINDS;
    const kind = kinds[index % kinds.length] as Kind;
    const made = kind(this);
    return chance(this.entropy, 15) ? this.#tagged(made) : made;
  }

  train(): PoolFrame[] {
    const spec = this.#flow();
    const count = 2 + below(this.entropy, this.entropy.next() % 4 === 0 ? 60 : 8);
    const bytes = this.pick([1, 20, 64, 536, 1300, this.mtuBytes - 60, this.mtuBytes + 400]);
    const last = this.pick([bytes, bytes, 1, Math.max(1, bytes >> 1)]);
    const isTcp = spec.protocol === TCP;
    return Array.from({ length: count }, (_, i) => {
      const isLast = i === count - 1;
      return this.#placed({
        ...spec,
        id: (spec.id + i) % 0x1_0000,
        sequence: (spec.sequence + (isTcp ? i * bytes : 0)) % 0x1_0000_0000,
        flags: isLast && chance(this.entropy, 50) ? ACK | PSH : spec.flags,
        payload: this.payload(isLast ? last : bytes),
      });
    });
  }

  message(): PoolFrame {
    const spec = { ...this.#flow(), vlanIds: this.pick([[], [], [7], [7, 8]]) };
    const gsoSize = this.pick([1, 100, 536, 1400, this.mtuBytes - 60]);
    const segments = 1 + below(this.entropy, this.entropy.next() % 8 === 0 ? 40 : 5);
    const isPlain = chance(this.entropy, 30);
    const payload = this.payload(
      isPlain ? below(this.entropy, 1300) : Math.min(gsoSize * segments - (gsoSize >> 1), SUPERFRAME_BYTES_MAX),
    );
    const bytes = emitSuperframe({ ...spec, payload }, isPlain ? 0 : gsoSize, isPlain ? { gsoType: GSO_NONE } : {});
    const layer3 = 10 + 14 + spec.vlanIds.length * 4;
    const upper = layer3 + (spec.family === 4 ? 20 : 40);
    return this.#addressed(bytes, layer3, upper, 10, this.pick(this.macs.destinations));
  }

  payload(bytes: number): Uint8Array {
    return markedPayload(this.mark, bytes);
  }

  pick<T>(items: readonly T[]): T {
    return items[below(this.entropy, items.length)] as T;
  }

  /** Between random MACs of the network. */
  ethernet(type: number, ...payload: Uint8Array[]): PoolFrame {
    const frame = make.ethernet(this.pick(this.macs.destinations), this.pick(this.macs.sources), type, ...payload);
    return { bytes: frame, layer3: 14, upper: type === 0x0800 ? 34 : type === 0x86dd ? 54 : 14 };
  }

  small(): Uint8Array {
    return this.payload(below(this.entropy, 120));
  }

  spec(): FrameSpec {
    return this.#flow();
  }

  placed(spec: FrameSpec): PoolFrame {
    return this.#placed(spec);
  }

  #flow(): FrameSpec {
    return {
      ...BASE_SPEC,
      family: this.pick([4, 6] as const),
      protocol: this.pick([TCP, UDP] as const),
      id: this.pick([1, 77, 0xfffe]),
      sequence: this.pick([1000, 0xffff_ff00]),
      flags: this.pick([ACK, ACK, ACK, ACK | PSH]),
      tos: this.pick([0, 0, 1, 2, 3, 0xb8]),
      tcpOptions: new Uint8Array(this.pick([0, 0, 12, 40])).fill(1),
      sourcePort: this.pick([4789, 40_000, 40_001]),
      destinationPort: this.pick([4789, 5201, 53]),
    };
  }

  #placed(spec: FrameSpec): PoolFrame {
    const layer3 = 14 + spec.vlanIds.length * 4;
    const upper = layer3 + (spec.family === 4 ? 20 + spec.ipOptions.length : 40);
    return this.#addressed(emitFrame(spec), layer3, upper, 0, this.macs.destinations[0] as Uint8Array);
  }

  #addressed(bytes: Uint8Array, layer3: number, upper: number, frameOffset: number, to: Uint8Array): PoolFrame {
    bytes.set(to, frameOffset);
    bytes.set(this.macs.sources[0] as Uint8Array, frameOffset + 6);
    return { bytes, layer3, upper };
  }

  #tagged({ bytes, layer3, upper }: PoolFrame): PoolFrame {
    const count = 1 + below(this.entropy, 5);
    const types = Array.from({ length: count }, () => this.pick([0x8100, 0x88a8, 0x9100]));
    return { bytes: make.tagged(bytes, types), layer3: layer3 + count * 4, upper: upper + count * 4 };
  }
}

type Kind = (maker: PoolMaker) => PoolFrame;

const group4 = make.octets(239, 1, 2, 3);
const group6 = make.octets(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 3);
const mac = make.octets(2, 0, 0, 0, 0, 2);
const address6 = make.octets(0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9);
const routerAlert: make.Ipv4Options = { options: make.octets(0x94, 4, 0, 0), destination: 0xef01_0203, ttl: 1 };
const alert6 = [[make.HOP_BY_HOP, make.octets(0, 0, 5, 2, 0, 0, 1, 0)]] as const;

const over4 = (maker: PoolMaker, protocol: number, payload: Uint8Array, more: make.Ipv4Options = {}) =>
  maker.ethernet(0x0800, make.ipv4(protocol, payload, more));
const over6 = (
  maker: PoolMaker,
  protocol: number,
  payload: Uint8Array,
  extensions: readonly (readonly [number, Uint8Array])[] = [],
) => maker.ethernet(0x86dd, make.ipv6(protocol, payload, extensions));
const nd = (maker: PoolMaker, type: number, rest: Uint8Array) => over6(maker, make.ICMP6, make.icmp6(type, 0, rest));

const KINDS: readonly Kind[] = [
  // TCP and UDP.
  (maker) => maker.placed({ ...maker.spec(), payload: maker.small() }),
  (maker) => maker.placed({ ...maker.spec(), payload: maker.payload(maker.mtuBytes - 60) }),
  (maker) => maker.placed({ ...maker.spec(), payload: new Uint8Array(0), flags: below(maker.entropy, 256) }),
  (maker) =>
    maker.placed({ ...maker.spec(), ipOptions: new Uint8Array(maker.pick([4, 40])).fill(1), payload: maker.small() }),
  (maker) => maker.placed({ ...maker.spec(), family: 6, extensionBytes: maker.pick([8, 64]), payload: maker.small() }),
  (maker) =>
    maker.placed({ ...maker.spec(), payload: maker.small(), fault: maker.pick(['bad checksum', 'no checksum']) }),
  (maker) => maker.placed({ ...maker.spec(), payload: maker.payload(maker.pick([2000, 9000, 30_000])) }),
  // One whose checksum, and perhaps segmentation, its sender's kernel has left undone.
  (maker) => {
    const spec = { ...maker.spec(), payload: maker.payload(maker.pick([10, 1000, 5000])) };
    const message = emitSuperframe(spec, 1000);
    return { bytes: message.slice(10), layer3: 14, upper: spec.family === 4 ? 34 : 54 };
  },
  // Fragments.
  (maker) => over4(maker, UDP, maker.small(), { fragment: maker.pick([0x2000, 0x2001, 0x0010, 0x1fff, 0x8000]) }),
  (maker) => over6(maker, UDP, maker.small(), [[make.FRAGMENT, make.fragmentHeader(maker.pick([1, 9, 0xfff8, 0]))]]),
  // ICMP.
  (maker) => over4(maker, make.ICMP, make.icmp4(8, 0, maker.small())),
  (maker) => over4(maker, make.ICMP, make.icmp4(3, 4, make.ipv4(TCP, maker.payload(8)))),
  (maker) => nd(maker, 128, maker.small()),
  (maker) => nd(maker, 2, make.ipv6(TCP, maker.payload(40))),
  // Neighbour discovery.
  (maker) => nd(maker, 135, make.octets(0, 0, 0, 0, ...address6, ...make.ndOption(1, mac))),
  (maker) => nd(maker, 136, make.octets(0x60, 0, 0, 0, ...address6, ...make.ndOption(2, mac))),
  (maker) => nd(maker, 133, make.octets(0, 0, 0, 0, ...make.ndOption(1, mac))),
  (maker) => nd(maker, 134, make.octets(64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, ...make.ndOption(3, new Uint8Array(30)))),
  // ARP.
  (maker) => maker.ethernet(0x0806, make.arp(1, mac, 0x0a00_0002, new Uint8Array(6), 0x0a00_0003)),
  (maker) => maker.ethernet(0x0806, make.arp(2, mac, 0x0a00_0002, mac, 0x0a00_0003), new Uint8Array(18)),
  (maker) => maker.ethernet(0x0806, make.arp(1, mac, 0, new Uint8Array(6), 0x0a00_0003)),
  (maker) => maker.ethernet(0x0806, make.arp(1, mac, 0x0a00_0002, mac, 0x0a00_0002)),
  (maker) => maker.ethernet(0x8035, make.arp(3, mac, 0, mac, 0)),
  // IGMP and MLD.
  (maker) => over4(maker, make.IGMP, make.icmp4(maker.pick([0x11, 0x12, 0x16, 0x17]), 10, group4), routerAlert),
  (maker) =>
    over4(maker, make.IGMP, make.icmp4(0x11, 10, make.octets(...group4, 2, 125, 0, 1, ...group4)), routerAlert),
  (maker) => over4(maker, make.IGMP, make.icmp4(0x22, 0, make.groupRecords([group4, group4], [group4])), routerAlert),
  (maker) =>
    over6(maker, make.ICMP6, make.icmp6(maker.pick([130, 131, 132]), 0, make.octets(0, 9, 0, 0, ...group6)), alert6),
  (maker) => over6(maker, make.ICMP6, make.icmp6(143, 0, make.groupRecords([group6, group6], [address6])), alert6),
  // VXLAN in the frame, once and three times.
  (maker) => over4(maker, UDP, make.udp(50_000, 4789, make.vxlan(1, maker.ethernet(0x0800, maker.small()).bytes))),
  (maker) => {
    let inner = maker.ethernet(0x0800, make.ipv4(UDP, maker.small())).bytes;
    for (let i = 0; i < 3; i++)
      inner = make.ethernet(mac, mac, 0x0800, make.ipv4(UDP, make.udp(50_000, 4789, make.vxlan(i, inner))));
    return { bytes: inner, layer3: 14, upper: 34 };
  },
  // Chains of extension headers, and other protocols.
  (maker) => {
    const kinds = [make.HOP_BY_HOP, make.ROUTING, make.DESTINATION_OPTIONS] as const;
    const chain = Array.from(
      { length: below(maker.entropy, 14) },
      () => [maker.pick(kinds), make.extension(below(maker.entropy, 3))] as const,
    );
    return over6(maker, maker.pick([TCP, UDP, make.ICMP6, 59, 50]), maker.small(), chain);
  },
  (maker) =>
    over6(maker, UDP, maker.small(), [[make.AUTHENTICATION, make.authenticationHeader(maker.pick([1, 4, 60]))]]),
  (maker) => over4(maker, maker.pick([4, 41, 47, 50, 89, 132, 255]), maker.small()),
  (maker) => over6(maker, maker.pick([4, 41, 47, 50, 89, 132, 255]), maker.small()),
  // Not IP: 802.3 lengths, LLDP, MPLS, PPPoE, TRILL, zero.
  (maker) => maker.ethernet(maker.pick([38, 0x88cc, 0x8847, 0x8864, 0x22f3, 0, 0xffff]), maker.small()),
  // No Ethernet payload at all.
  (maker) => maker.ethernet(maker.pick([0x0800, 0x86dd, 0x0806, 0x8100])),
];
