/**
 * Frames that a container may and may not send under port security, each with a mark of its own by which a receiver knows
 * it, and a way to send and to see them. All go to everybody. Test support.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { parseIp } from '../../../src/wire/ip-address.js';

export interface Sender {
  readonly mac: string;
  readonly ipv4: string;
  readonly ipv6: string;
}

export interface Spoof {
  readonly name: string;
  /** Hexadecimal. */
  readonly frame: string;
  readonly mark: string;
  /** What it is dropped for; undefined: it passes. */
  readonly cause?: 'source_mac' | 'source_address';
}

const SENDER = new URL('../../interop/raw-frames.mjs', import.meta.url).pathname;
const LISTENER = new URL('./frame-listener.mjs', import.meta.url).pathname;
const NO_VIRTIO = '00'.repeat(10);
const OTHER_MAC = '02:00:5e:aa:aa:aa';
const LINK_LOCAL = 'fe80::aaaa:bbbb:cccc:dddd';
const ALL_NODES = 'ff02::1';
const VLAN = '8100';
const ARP = '0806';
const IPV4 = '0800';
const IPV6 = '86dd';
const UDP = 17;
const IGMP = 2;
const ICMPV6 = 58;

const u8 = (value: number): string => (value & 0xff).toString(16).padStart(2, '0');
const u16 = (value: number): string => u8(value >> 8) + u8(value);
const ipHex = (text: string): string => Buffer.from(parseIp(text)).toString('hex');
const macHex = (text: string): string => text.replaceAll(':', '');

function ethernet(source: string, rest: string): string {
  return `ffffffffffff${macHex(source)}${rest}`;
}

function arp(operation: number, mac: string, ip: string, hardwareType = 1): string {
  return `${ARP}${u16(hardwareType)}08000604${u16(operation)}${macHex(mac)}${ipHex(ip)}000000000000${ipHex('10.0.0.200')}`;
}

function ipv4(source: string, protocol: number, payload: string): string {
  const bytes = 20 + payload.length / 2;
  const header = (sum: number) =>
    `4500${u16(bytes)}00004000 40${u8(protocol)}${u16(sum)}${ipHex(source)}ffffffff`.replace(' ', '');
  let sum = 0;
  for (const [word] of header(0).matchAll(/.{4}/g)) sum += Number.parseInt(word, 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return IPV4 + header(~(sum + (sum >> 16)) & 0xffff) + payload;
}

function ipv6(source: string, next: number, payload: string): string {
  return `${IPV6}60000000${u16(payload.length / 2)}${u8(next)}ff${ipHex(source)}${ipHex(ALL_NODES)}${payload}`;
}

const udp = (from: number, to: number, payload: string): string =>
  u16(from) + u16(to) + u16(8 + payload.length / 2) + u16(0) + payload;

const icmpv6 = (type: number, rest: string): string => `${u8(type)}000000${rest}`;

/** Neighbour solicitation (135) or advertisement (136). */
const neighbour = (type: 135 | 136, target: string): string => icmpv6(type, `20000000${ipHex(target)}`);

/** @param other an address of each family that is somebody else's, as the gateway's */
export function spoofs(sender: Sender, other: { ipv4: string; ipv6: string }): Spoof[] {
  const all: Spoof[] = [];
  const { mac } = sender;
  const add = (cause: Spoof['cause'], name: string, frame: (mark: string) => string) => {
    const mark = `c0ffee${u16(all.length)}${macHex(mac)}`;
    all.push({ name, mark, frame: frame(mark), ...(cause === undefined ? {} : { cause }) });
  };
  const plain = (cause: Spoof['cause'], name: string, rest: (mark: string) => string) =>
    add(cause, name, (mark) => ethernet(mac, rest(mark)));
  const data = (mark: string) => udp(5000, 5001, mark);

  plain(undefined, 'IPv4', (mark) => ipv4(sender.ipv4, UDP, data(mark)));
  plain(undefined, 'IPv6', (mark) => ipv6(sender.ipv6, UDP, data(mark)));
  plain(undefined, 'an unknown EtherType', (mark) => `88b5${mark}`);
  add('source_mac', 'a foreign MAC', (mark) => ethernet(OTHER_MAC, ipv4(sender.ipv4, UDP, data(mark))));
  add('source_mac', 'a foreign MAC, unknown EtherType', (mark) => ethernet(OTHER_MAC, `88b5${mark}`));
  add('source_mac', 'a foreign MAC behind a tag', (mark) =>
    ethernet(OTHER_MAC, `${VLAN}0000${ipv4(sender.ipv4, UDP, data(mark))}`),
  );
  plain('source_address', 'a foreign IPv4 source', (mark) => ipv4(other.ipv4, UDP, data(mark)));
  plain('source_address', 'a foreign IPv6 source', (mark) => ipv6(other.ipv6, UDP, data(mark)));

  plain(undefined, 'ARP', (mark) => arp(1, mac, sender.ipv4) + mark);
  plain(undefined, 'an ARP probe', (mark) => arp(1, mac, '0.0.0.0') + mark);
  plain('source_address', 'an ARP answer from 0.0.0.0', (mark) => arp(2, mac, '0.0.0.0') + mark);
  plain('source_address', 'a foreign ARP sender', (mark) => arp(2, mac, other.ipv4) + mark);
  plain('source_address', 'a foreign MAC in ARP', (mark) => arp(2, OTHER_MAC, sender.ipv4) + mark);
  plain('source_address', 'ARP of hardware type 6', (mark) => arp(2, mac, other.ipv4, 6) + mark);

  plain(undefined, 'DHCP discover', (mark) => ipv4('0.0.0.0', UDP, udp(68, 67, mark)));
  plain('source_address', 'other UDP from 0.0.0.0', (mark) => ipv4('0.0.0.0', UDP, data(mark)));
  plain(undefined, 'IGMP from 0.0.0.0', (mark) => ipv4('0.0.0.0', IGMP, `16000000${mark}`));

  plain(undefined, 'link-local IPv6', (mark) => ipv6(LINK_LOCAL, UDP, data(mark)));
  plain(undefined, 'MLD from ::', (mark) => ipv6('::', ICMPV6, icmpv6(143, `00000000${mark}`)));
  plain(undefined, 'duplicate detection', (mark) => ipv6('::', ICMPV6, neighbour(135, sender.ipv6) + mark));
  plain(undefined, 'link-local duplicate detection', (mark) => ipv6('::', ICMPV6, neighbour(135, LINK_LOCAL) + mark));
  plain('source_address', 'foreign duplicate detection', (mark) =>
    ipv6('::', ICMPV6, neighbour(135, other.ipv6) + mark),
  );
  plain('source_address', 'UDP from ::', (mark) => ipv6('::', UDP, data(mark)));
  plain(undefined, 'a solicitation', (mark) => ipv6(sender.ipv6, ICMPV6, neighbour(135, other.ipv6) + mark));
  plain(undefined, 'an advertisement', (mark) => ipv6(sender.ipv6, ICMPV6, neighbour(136, sender.ipv6) + mark));
  plain('source_address', 'a foreign target', (mark) => ipv6(sender.ipv6, ICMPV6, neighbour(136, other.ipv6) + mark));
  plain('source_address', 'a foreign target from link-local', (mark) =>
    ipv6(LINK_LOCAL, ICMPV6, neighbour(136, other.ipv6) + mark),
  );
  plain('source_address', 'a foreign target behind an extension header', (mark) =>
    ipv6(LINK_LOCAL, 60, `${u8(ICMPV6)}00010400000000${neighbour(136, other.ipv6)}${mark}`),
  );
  plain('source_address', 'a router advertisement', (mark) =>
    ipv6(LINK_LOCAL, ICMPV6, icmpv6(134, `400007080000000000000000${mark}`)),
  );
  plain('source_address', 'a router advertisement from the own address', (mark) =>
    ipv6(sender.ipv6, ICMPV6, icmpv6(134, `400007080000000000000000${mark}`)),
  );
  plain('source_address', 'a redirect', (mark) =>
    ipv6(LINK_LOCAL, ICMPV6, icmpv6(137, `00000000${ipHex(other.ipv6)}${ipHex(sender.ipv6)}${mark}`)),
  );
  plain(undefined, 'a router solicitation', (mark) => ipv6(LINK_LOCAL, ICMPV6, icmpv6(133, `00000000${mark}`)));

  // VLAN 0 is no VLAN to a receiver; another is one's own business, with one's own addresses.
  for (const vlan of ['0000', '0007']) {
    const tagged = `${VLAN}${vlan}`;
    plain(undefined, `IPv4 in VLAN ${vlan}`, (mark) => tagged + ipv4(sender.ipv4, UDP, data(mark)));
    plain('source_address', `foreign IPv4 in VLAN ${vlan}`, (mark) => tagged + ipv4(other.ipv4, UDP, data(mark)));
    plain('source_address', `foreign IPv6 in VLAN ${vlan}`, (mark) => tagged + ipv6(other.ipv6, UDP, data(mark)));
    plain('source_address', `foreign ARP in VLAN ${vlan}`, (mark) => tagged + arp(2, mac, other.ipv4) + mark);
    plain(undefined, `ARP in VLAN ${vlan}`, (mark) => tagged + arp(2, mac, sender.ipv4) + mark);
    plain('source_address', `router advertisement in VLAN ${vlan}`, (mark) => {
      return tagged + ipv6(LINK_LOCAL, ICMPV6, icmpv6(134, `400007080000000000000000${mark}`));
    });
  }
  for (const outer of ['8100', '88a8']) {
    plain('source_address', `two tags, the outer ${outer}`, (mark) => {
      return `${outer}0000${VLAN}0000${ipv4(sender.ipv4, UDP, data(mark))}`;
    });
  }
  return all;
}

/** The last frame of a series: whoever sees it has seen the others, or never will. */
export const fence = (sender: Sender): Spoof => {
  const mark = `fe9ce000${macHex(sender.mac)}`;
  return { name: 'fence', mark, frame: ethernet(sender.mac, `88b5${mark}`) };
};

/** How many of each cause, as they are counted. */
export function dropsOf(all: readonly Spoof[]): { source_mac: number; source_address: number } {
  const count = (cause: Spoof['cause']) => all.filter((spoof) => spoof.cause === cause).length;
  return { source_mac: count('source_mac'), source_address: count('source_address') };
}

export async function interfaceIndex(
  exec: (...command: string[]) => Promise<{ stdout: string }>,
  name: string,
): Promise<string> {
  return (await exec('cat', `/sys/class/net/${name}/ifindex`)).stdout.trim();
}

/** The command that sends them from the interface, in their order. */
export function sendCommand(index: string, all: readonly Spoof[]): string[] {
  return [process.execPath, SENDER, index, ...all.map(({ frame }) => NO_VIRTIO + frame)];
}

/** Sees all that comes in by an interface of a namespace, until it is stopped. */
export class FrameListener {
  private readonly child: ChildProcess;
  private text = '';

  constructor(netns: string, index: string) {
    this.child = spawn('ip', ['netns', 'exec', netns, process.execPath, LISTENER, index], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.text += text;
    });
  }

  isReady(): boolean {
    return this.text.startsWith('ready');
  }

  hasSeen({ mark }: Spoof): boolean {
    return this.text.includes(mark);
  }

  forget(): void {
    this.text = 'ready';
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill('SIGKILL');
    await once(this.child, 'exit');
  }
}
