/**
 * The table: what a case is, how it is played, and how the wire is looked up afterwards. Test support.
 *
 * Cases are played in order, group by group, in one lab. Each has a mark of five bytes that nothing else on the wire
 * has, so that its frames are found at the far side and in the capture, which tshark decodes once at the end. A frame
 * that must not arrive is followed by one that must, on the same path: once that is there, the other would be.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from '../e2e/host-pair.js';
import { readCapture } from './frame-stream.js';
import type { Lab } from './lab.js';
import { type Ends, ether, packet, type Underlay, underlay, vxlan } from './packets.js';
import { KERNEL_MAC, type NetworkName, PLACES, VTEP_A, VTEP_A6, VTEP_KERNEL, VTEP_KERNEL6 } from './places.js';

const WAIT_MS = 5000;

/** Of a decoded packet: each field's values, from the outermost header to the innermost. */
export type Decoded = Readonly<Record<string, readonly string[]>>;

/** What the wire must show for each datagram of the case: the outermost value of each field, or all of them. */
export type WireClaim = Readonly<Record<string, string | readonly string[] | RegExp>>;

export interface Case {
  readonly name: string;
  /** @default mixed */
  readonly network?: NetworkName;
  /** `wire`: the frames are whole frames of the underlay, sent by host b to host a. */
  readonly from: 'container' | 'kernel' | 'wire';
  readonly frames: (scene: Scene) => Uint8Array[];
  /** What reaches the other side, byte for byte. @default what was sent; for `wire` the frame that it carries */
  readonly arrives?: 'nothing' | ((sent: readonly Uint8Array[], scene: Scene) => Uint8Array[]);
  /** The only cause that counts, and how often. @default none */
  readonly drops?: Readonly<Record<string, number>>;
  readonly wire?: WireClaim;
  /** How many datagrams with the mark are on the wire. @default as many as frames, if there is a `wire` */
  readonly datagrams?: number;
  /** More about them. */
  readonly rows?: (rows: readonly Decoded[], wire: Wire, lab: Lab) => void;
}

/** A case that is more than frames; it throws what is wrong. */
export interface Scenario {
  readonly name: string;
  readonly play: (lab: Lab, scene: Scene) => Promise<void>;
  readonly wire?: WireClaim;
  readonly datagrams?: number;
  readonly rows?: (rows: readonly Decoded[], wire: Wire, lab: Lab) => void;
}

export interface Group {
  readonly name: string;
  readonly setUp?: (lab: Lab) => Promise<unknown>;
  readonly cases: readonly (Case | Scenario)[];
  readonly tearDown?: (lab: Lab) => Promise<unknown>;
}

/** What a case knows of the place where it is played. */
export class Scene {
  constructor(
    readonly lab: Lab,
    readonly network: NetworkName,
    readonly mark: Uint8Array,
  ) {}

  get vni(): number {
    return PLACES[this.network].vni;
  }
  get mtu(): number {
    return PLACES[this.network].mtu;
  }
  get box(): string {
    return this.lab.containers[this.network].mac;
  }
  get toKernel(): Ends {
    return { from: this.box, to: KERNEL_MAC };
  }
  get toBox(): Ends {
    return { from: KERNEL_MAC, to: this.box };
  }

  /** From the kernel's address to vtepd's, as from a VTEP, unless told otherwise. */
  datagram(payload: Uint8Array, options: Partial<Underlay> = {}): Uint8Array[] {
    const { a, b } = this.lab.underlayMac;
    const isIpv4 = PLACES[this.network].family === 4;
    const [source, destination] = isIpv4 ? [VTEP_KERNEL, VTEP_A] : [VTEP_KERNEL6, VTEP_A6];
    return underlay({ sourceMac: b, destinationMac: a, source, destination, ...options }, payload);
  }

  /** The same with the network's VXLAN header before the frame. */
  tunnel(frame: Uint8Array, options: Partial<Underlay> = {}): Uint8Array[] {
    return this.datagram(Buffer.concat([vxlan(this.vni), frame]), options);
  }
}

/** What happened. */
export interface Evidence {
  readonly mark: Uint8Array;
  error?: unknown;
  arrived: string[];
  expected: string[];
  drops: Record<string, number>;
}

/** As the last case left them; undefined when something else has been since. Asking takes vtepd some milliseconds. */
let lastDrops: Record<string, number> | undefined;
let marks = 0;
/** 5a c3 NN NN a7: no address, length or port here looks like it. */
const nextMark = (): Uint8Array => Uint8Array.of(0x5a, 0xc3, ++marks >> 8, marks, 0xa7);

/** Polls at short intervals. @throws Error naming `what` */
export async function until(what: string, probe: () => Promise<boolean> | boolean, waitMs = WAIT_MS): Promise<void> {
  const deadline = Date.now() + waitMs;
  while (!(await probe())) {
    if (Date.now() > deadline) throw new Error(`waited ${waitMs} ms for ${what}`);
    await sleep(5);
  }
}

function difference(before: Record<string, number>, after: Record<string, number>): Record<string, number> {
  const changed = Object.entries(after).map(([key, value]) => [key, value - (before[key] ?? 0)] as const);
  return Object.fromEntries(changed.filter(([, count]) => count !== 0));
}

/** @returns by the case's name */
export async function playGroup(lab: Lab, group: Group): Promise<Map<string, Evidence>> {
  const played = new Map<string, Evidence>();
  let failed: unknown;
  lastDrops = undefined;
  try {
    await group.setUp?.(lab);
  } catch (error) {
    failed = error;
  }
  for (const entry of group.cases) {
    const evidence: Evidence = { mark: nextMark(), arrived: [], expected: [], drops: {} };
    played.set(entry.name, evidence);
    if (failed !== undefined) evidence.error = failed;
    else {
      try {
        if ('play' in entry) lastDrops = undefined;
        if ('play' in entry) await entry.play(lab, new Scene(lab, 'mixed', evidence.mark));
        else await playCase(lab, entry, evidence);
      } catch (error) {
        evidence.error = error;
      }
    }
  }
  await group.tearDown?.(lab);
  return played;
}

async function playCase(lab: Lab, entry: Case, evidence: Evidence): Promise<void> {
  const network = entry.network ?? 'mixed';
  const scene = new Scene(lab, network, evidence.mark);
  const sent = entry.frames(scene);
  const expected = entry.arrives === undefined ? sent : entry.arrives === 'nothing' ? [] : entry.arrives(sent, scene);
  evidence.expected = expected.map(toHex).sort();
  const before = lastDrops ?? (await lab.status()).drops;
  for (const frame of sent) {
    if (entry.from === 'container') await lab.sendFromContainer(network, frame);
    else if (entry.from === 'kernel') await lab.sendFromKernel(network, frame);
    else await lab.sendOnWire(frame);
  }
  const arrivals = () => farSide(lab, entry, network).with(evidence.mark);
  if (expected.length > 0) {
    await until(`${expected.length} frames`, () => arrivals().length >= expected.length).catch(() => undefined);
  }
  const wanted = Object.entries(entry.drops ?? {});
  const areCounted = async () => {
    const counted = difference(before, (await lab.status()).drops);
    return wanted.every(([cause, count]) => (counted[cause] ?? 0) >= count);
  };
  if (wanted.length > 0) await until('the drops', areCounted).catch(() => undefined);
  await followUp(lab, entry, network);
  const after = (await lab.status()).drops;
  evidence.drops = difference(before, after);
  lastDrops = after;
  evidence.arrived = arrivals().map(toHex).sort();
}

const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

function farSide(lab: Lab, entry: Case, network: NetworkName) {
  return entry.from === 'container' ? lab.atKernel[network] : lab.atContainer[network];
}

/** A frame that must arrive, on the path of the case. */
async function followUp(lab: Lab, entry: Case, network: NetworkName): Promise<void> {
  const scene = new Scene(lab, network, nextMark());
  // No IP: port security lets it through.
  if (entry.from === 'container') await lab.sendFromContainer(network, ether(scene.toKernel, 0x88b5, scene.mark));
  else {
    // From a MAC of its own: the case may be about where the kernel's was last heard.
    const frame = packet({ from: '02:00:5e:00:00:f0', to: scene.box }, scene.mark);
    for (const outer of scene.tunnel(frame)) await lab.sendOnWire(outer);
  }
  await until('the frame that follows', () => farSide(lab, entry, network).with(scene.mark).length > 0);
}

const FIELDS = [
  ...['ip.src', 'ip.dst', 'ip.ttl', 'ip.dsfield.dscp', 'ip.dsfield.ecn', 'ip.flags.df', 'ip.flags.mf'],
  ...['ip.frag_offset', 'ip.proto', 'ip.len', 'ip.hdr_len', 'ip.checksum.status'],
  ...['ipv6.src', 'ipv6.dst', 'ipv6.hlim', 'ipv6.flow', 'ipv6.tclass.dscp', 'ipv6.tclass.ecn'],
  ...['udp.srcport', 'udp.dstport', 'udp.length', 'udp.checksum', 'udp.checksum.status'],
  ...['vxlan.flags', 'vxlan.vni', 'vxlan.gbp', 'vxlan.reserved8'],
  ...['eth.src', 'eth.dst', 'eth.type', 'eth.len', 'vlan.id', 'vlan.etype', 'arp.opcode', 'icmp.type', 'icmp.code'],
  ...[
    'icmpv6.mldr.mar.multicast_address',
    'icmpv6.mldr.mar.record_type',
    'icmp.mtu',
    'icmpv6.type',
    'icmpv6.mtu',
    'igmp.type',
    'igmp.maddr',
    'igmp.record_type',
  ],
] as const;

/** The capture of the underlay, decoded. */
export class Wire {
  private constructor(
    readonly frames: readonly Buffer[],
    readonly rows: readonly Decoded[],
  ) {}

  static async decode(path: string): Promise<Wire> {
    const frames = readCapture(readFileSync(path));
    const checks = ['ip', 'tcp', 'udp'].flatMap((name) => ['-o', `${name}.check_checksum:TRUE`]);
    const format = ['-T', 'fields', '-E', 'separator=|', '-E', 'occurrence=a', '-E', 'aggregator=,'];
    const whole = ['-o', 'ip.defragment:FALSE', ...FIELDS.flatMap((field) => ['-e', field])];
    const result = await run('tshark', ['-n', '-r', path, ...checks, ...format, ...whole], 60_000);
    if (result.exitCode !== 0) throw new Error(`tshark: ${result.stderr}`);
    const rows = result.stdout.split('\n').map((line) => {
      const values = line.split('|').map((field) => field.split(',').filter((value) => value !== ''));
      return Object.fromEntries(FIELDS.map((field, i) => [field, values[i] ?? []]));
    });
    return new Wire(frames, rows);
  }

  /** What is decoded of the frames with this mark in them. */
  with(mark: Uint8Array): Decoded[] {
    return this.rows.filter((_row, i) => this.frames[i]?.includes(Buffer.from(mark)));
  }
}
