/**
 * A worker's steps without its thread: real UDP sockets on loopback as the underlay, a socket pair in the TAP's place
 * (a message each read and write, as a TAP gives a frame). What goes in and what comes out is bytes.
 *
 * Loopback delivers within the send, and a UDP_SEGMENT message whole to a socket with UDP_GRO: a *train* of datagrams.
 */
import koffi from 'koffi';
import { BURST_FRAMES } from '../../src/dataplane/arena.js';
import { WorkerContext } from '../../src/dataplane/context.js';
import { drainTap } from '../../src/dataplane/tap-rx.js';
import { drainUnderlay, prepareReceive } from '../../src/dataplane/underlay-rx.js';
import { DROP_COUNTERS_START, NETWORK_COUNTERS } from '../../src/shared/counters.js';
import { DROP_CAUSES } from '../../src/shared/drop-causes.js';
import { allocateTables } from '../../src/shared/tables.js';
import type { UnderlaySockets, WorkerOffloads, WorkerOuterHeader } from '../../src/shared/worker-input.js';
import { FdbWriter } from '../../src/shared/writers/fdb-writer.js';
import { NeighbourWriter } from '../../src/shared/writers/neighbour-writer.js';
import { type NetworkRow, NetworkWriter } from '../../src/shared/writers/network-writer.js';
import { VtepWriter } from '../../src/shared/writers/vtep-writer.js';
import {
  CMSG_DATA_WORD,
  GSO_CONTROL_BYTES,
  prepareGsoControl,
  prepareTosControl,
  readControl,
  TOS_CONTROL_BYTES,
} from '../../src/sys/batch-io.js';
import { close, read, recvmmsg, sendmmsg, setsockopt, write } from '../../src/sys/libc.js';
import { addressOf, pin, writePointer } from '../../src/sys/memory.js';
import { openEpoll } from '../../src/sys/poll.js';
import { SOCKADDR_BYTES_MAX, writeSockaddr } from '../../src/sys/sockaddr.js';
import { enableUdpGro } from '../../src/sys/udp-offloads.js';
import { boundPort, openUdpSocket } from '../../src/sys/udp-socket.js';

const libc = koffi.load('libc.so.6');
const socketpair = libc.func('int socketpair(int domain, int type, int protocol, uintptr_t fds)');
const AF_UNIX = 1;
const SOCK_DGRAM_NONBLOCK = 2 | 0o4000;

const SOL_SOCKET = 1;
const SO_SNDBUFFORCE = 32;
const SOCKET_BUFFER_BYTES = 16 * 1024 * 1024;

const SELF = Uint8Array.of(127, 0, 0, 1);
const LOOPBACK6 = Uint8Array.from({ length: 16 }, (_, i) => (i === 15 ? 1 : 0));
export const VNI = 0x123456;

/** What system calls are given: an address is no reference, so these live as long as the tests. */
const SENDING = {
  sockaddr: pin(new Uint8Array(SOCKADDR_BYTES_MAX)),
  iovec: pin(new Int32Array(4)),
  header: pin(new Int32Array(16)),
  control: pin(new Int32Array(16)),
  message: pin(new Uint8Array(70_000)),
};

export const NO_OFFLOADS: WorkerOffloads = {
  underlayGso: false,
  underlayGro: false,
  coalesceTcp: false,
  coalesceUdp: false,
  simdChecksum: true,
};
export const ALL_OFFLOADS: WorkerOffloads = {
  underlayGso: true,
  underlayGro: true,
  coalesceTcp: true,
  coalesceUdp: true,
  simdChecksum: true,
};

export interface HarnessOptions {
  /** @default true */
  learning?: boolean;
  /** @default NO_OFFLOADS */
  offloads?: WorkerOffloads;
  /** @default 1450 */
  mtuBytes?: number;
  /** Known neighbours are answered. @default false */
  suppression?: boolean;
  /** @default 0 */
  stormLimit?: number;
  /** Sending sockets; with one, all that leaves is in order. @default 2 */
  sources?: number;
  /** What the TAP's queue and each peer's holds. The default fills up after some hundred frames, as a TAP's does. */
  deepQueues?: boolean;
  /** @default TOS 0, nothing inherited */
  outer?: WorkerOuterHeader;
  /** Sockets of both families. @default IPv4 alone */
  ipv6?: boolean;
  /** More of the network's row. */
  row?: Partial<NetworkRow>;
}

export class Harness {
  readonly tables = allocateTables(1);
  readonly fdb = new FdbWriter(this.tables.fdb);
  readonly networks = new NetworkWriter(this.tables.networks, this.tables.vnis, this.tables.membership);
  readonly vteps = new VtepWriter(this.tables.vteps);
  readonly neighbours = new NeighbourWriter(this.tables.neighbours);
  readonly context: WorkerContext;
  readonly networkIndex: number;
  readonly #fds: number[] = [];
  readonly #container: number;
  readonly #rxPort: number;
  readonly #rxFd: number;
  #rxFd6 = -1;
  #peer6 = -1;
  readonly #peers = new Map<number, number>();

  readonly #deepQueues: boolean;

  constructor(port: number, options: HarnessOptions = {}) {
    const { learning = true, offloads = NO_OFFLOADS, mtuBytes = 1450, sources = 2, deepQueues = false } = options;
    const { suppression = false, stormLimit = 0, ipv6 = false, outer } = options;
    this.#rxPort = port;
    this.#deepQueues = deepQueues;
    const pair = new Int32Array(2);
    if (socketpair(AF_UNIX, SOCK_DGRAM_NONBLOCK, 0, addressOf(pair)) !== 0) throw new Error('socketpair failed');
    const [tap, container] = pair as unknown as [number, number];
    this.#container = this.#keep(container);
    this.#keep(tap);
    if (deepQueues) for (const fd of [tap, container]) deepen(fd);
    const underlayFd = this.#keep(openUdpSocket({ address: SELF, port, receiveTos: true, ...this.#buffers() }));
    this.#rxFd = underlayFd;
    if (offloads.underlayGro) enableUdpGro(underlayFd);
    const txFds = Array.from({ length: sources }, () =>
      this.#keep(openUdpSocket({ address: SELF, port: 0, tos: outer?.tos ?? 0, ...this.#buffers() })),
    );
    this.vteps.add(SELF, port);
    this.networkIndex = this.networks.reserve();
    const switches = { learning, suppression, stormLimit };
    this.networks.publish(this.networkIndex, { vni: VNI, tapFds: [tap], mtuBytes, ...switches, ...options.row });
    const epollFd = this.#keep(openEpoll());
    const underlay: UnderlaySockets[] = [{ family: 4, rxFd: underlayFd, txFds }];
    if (ipv6) underlay.push(this.#openIpv6(sources, offloads.underlayGro));
    const ends = { epollFd, wakeFd: -1, underlay };
    const input = {
      workerIndex: 0,
      tables: this.tables,
      ...ends,
      offloads,
      spinMicroseconds: 0,
      nice: 0,
      ...(outer && { outer }),
    };
    this.context = new WorkerContext(input, () => {});
    prepareReceive(this.context);
  }

  #openIpv6(sources: number, gro: boolean): UnderlaySockets {
    const open = () => this.#keep(openUdpSocket({ address: LOOPBACK6, port: 0, receiveTos: true, ...this.#buffers() }));
    this.#rxFd6 = open();
    if (gro) enableUdpGro(this.#rxFd6);
    return { family: 6, rxFd: this.#rxFd6, txFds: Array.from({ length: sources }, open) };
  }

  /** A VTEP on 127.0.0.<last>. @returns its index */
  addPeer(last: number, member = true): number {
    const address = Uint8Array.of(127, 0, 0, last);
    const fd = this.#keep(openUdpSocket({ address, port: this.#rxPort, receiveTos: true, ...this.#buffers() }));
    const index = this.vteps.add(address, this.#rxPort);
    this.#peers.set(index, fd);
    if (member) this.networks.addMember(this.networkIndex, index);
    return index;
  }

  /** A member VTEP on ::1, the only address of its family on loopback; for a harness with `ipv6`. @returns its index */
  addPeer6(): number {
    const fd = this.#keep(openUdpSocket({ address: LOOPBACK6, port: 0, receiveTos: true, ...this.#buffers() }));
    const index = this.vteps.add(LOOPBACK6, boundPort(fd));
    this.#peers.set(index, fd);
    this.#peer6 = index;
    this.networks.addMember(this.networkIndex, index);
    return index;
  }

  /** The container side sends frames, virtio header first; the worker encapsulates burst by burst. */
  fromContainer(...messages: Uint8Array[]): void {
    this.intoTap(...messages);
    // What was sent is there already: all of it is one burst.
    this.context.tapBurst = BURST_FRAMES;
    while (drainTap(this.context, this.networkIndex) > 0);
  }

  /** The container side sends frames; nobody reads them yet. */
  intoTap(...messages: Uint8Array[]): void {
    for (const message of messages) {
      SENDING.message.set(message);
      if (write(this.#container, addressOf(SENDING.message), message.length) < 0) throw new Error('the pair is full');
    }
  }

  /** What the container side has got, virtio header first. */
  toContainer(): Uint8Array[] {
    return drain(this.#container);
  }

  /** A peer's socket sends one datagram to this VTEP; the worker decapsulates. */
  fromPeer(peer: number, datagram: Uint8Array, tos = 0): void {
    this.trainsFromPeer(peer, [[datagram]], tos);
  }

  /**
   * A peer's socket sends trains: each some datagrams of one size, the last perhaps shorter. The worker decapsulates; a
   * recvmmsg takes RX_MESSAGES trains.
   *
   * @param tos of the outer header
   */
  trainsFromPeer(peer: number, trains: readonly (readonly Uint8Array[])[], tos = 0): void {
    const isIpv6 = peer === this.#peer6;
    for (const train of trains) this.#send(this.#peers.get(peer) as number, train, tos, isIpv6);
    while (drainUnderlay(this.context, isIpv6 ? this.#rxFd6 : this.#rxFd) > 0);
  }

  fromSelf(datagram: Uint8Array): void {
    this.#send(this.context.txFds[0] as number, [datagram]);
    drainUnderlay(this.context, this.#rxFd);
  }

  /** What has reached a peer's socket. */
  toPeer(peer: number): Uint8Array[] {
    return drain(this.#peers.get(peer) as number);
  }

  /** As toPeer, with the outer TOS of each. */
  toPeerWithTos(peer: number): { tos: number; datagram: Uint8Array }[] {
    const found: { tos: number; datagram: Uint8Array }[] = [];
    for (;;) {
      const { iovec, header, control, message } = SENDING;
      writePointer(iovec, 0, addressOf(message));
      iovec[2] = message.length;
      header.fill(0);
      writePointer(header, 4, addressOf(iovec));
      header[6] = 1;
      writePointer(header, 8, addressOf(control));
      header[10] = control.byteLength;
      if (recvmmsg(this.#peers.get(peer) as number, addressOf(header), 1, 0, 0) !== 1) return found;
      const told = readControl(control, 0, header[10] as number);
      found.push({ tos: told & 0xff, datagram: message.slice(0, header[14]) });
    }
  }

  /** Drops of the network or of none, by cause, without those that are 0. */
  drops(): Record<string, number> {
    const found: Record<string, number> = {};
    for (const { id, name } of DROP_CAUSES) {
      const at = (row: number) =>
        this.context.counters.cells[row * NETWORK_COUNTERS + DROP_COUNTERS_START + id] as number;
      const count = at(0) + at(this.networkIndex);
      if (count > 0) found[name] = count;
    }
    return found;
  }

  counter(index: number): number {
    return this.context.counters.cells[this.networkIndex * NETWORK_COUNTERS + index] as number;
  }

  close(): void {
    for (const fd of this.#fds) close(fd);
  }

  #keep(fd: number): number {
    this.#fds.push(fd);
    return fd;
  }

  #buffers(): { receiveBufferBytes?: number; sendBufferBytes?: number } {
    if (!this.#deepQueues) return {};
    return { receiveBufferBytes: SOCKET_BUFFER_BYTES, sendBufferBytes: SOCKET_BUFFER_BYTES };
  }

  #send(fd: number, train: readonly Uint8Array[], tos = 0, isIpv6 = false): void {
    const { sockaddr, iovec, header, control, message } = SENDING;
    let bytes = 0;
    for (const datagram of train) {
      message.set(datagram, bytes);
      bytes += datagram.length;
    }
    writePointer(iovec, 0, addressOf(message));
    iovec[2] = bytes;
    writePointer(header, 0, addressOf(sockaddr));
    header[2] = isIpv6
      ? writeSockaddr(sockaddr, 0, LOOPBACK6, boundPort(this.#rxFd6))
      : writeSockaddr(sockaddr, 0, SELF, this.#rxPort);
    writePointer(header, 4, addressOf(iovec));
    header[6] = 1;
    prepareTosControl(control, 0, isIpv6);
    control[CMSG_DATA_WORD] = tos;
    const gso = TOS_CONTROL_BYTES / 4;
    prepareGsoControl(control, gso);
    control[gso + CMSG_DATA_WORD] = train[0]?.length ?? 0;
    writePointer(header, 8, addressOf(control));
    header[10] = TOS_CONTROL_BYTES + (train.length > 1 ? GSO_CONTROL_BYTES : 0);
    if (sendmmsg(fd, addressOf(header), 1, 0) !== 1) throw new Error('the test could not send its datagrams');
  }
}

function deepen(fd: number): void {
  const bytes = new Int32Array([SOCKET_BUFFER_BYTES]);
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, addressOf(bytes), 4) !== 0) throw new Error('SO_SNDBUFFORCE failed');
}

function drain(fd: number): Uint8Array[] {
  const buffer = new Uint8Array(70_000);
  const messages: Uint8Array[] = [];
  for (;;) {
    const bytes = read(fd, addressOf(buffer), buffer.length);
    if (bytes < 0) return messages;
    messages.push(buffer.slice(0, bytes));
  }
}

const text = (hex: string) => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));

/** A UDP frame 10.0.0.2 -> 10.0.0.3 with the given MACs and payload; checksums left at 0. */
export function frame(options: { to?: string; from?: string; payload?: Uint8Array } = {}): Uint8Array {
  const payload = options.payload ?? text('0102030405');
  const bytes = new Uint8Array(42 + payload.length);
  bytes.set(text(options.to ?? '020000000003'), 0);
  bytes.set(text(options.from ?? '020000000002'), 6);
  bytes.set(text('0800 4500 0000 0001 4000 4011 0000 0a000002 0a000003 1388 1389 0000 0000'), 12);
  const view = new DataView(bytes.buffer);
  view.setUint16(16, 28 + payload.length);
  view.setUint16(38, 8 + payload.length);
  bytes.set(payload, 42);
  return bytes;
}

/** The frame as a TAP hands it over: behind a virtio header. */
export function tapMessage(frameBytes: Uint8Array, header = '00000000000000000000'): Uint8Array {
  const message = new Uint8Array(10 + frameBytes.length);
  message.set(text(header), 0);
  message.set(frameBytes, 10);
  return message;
}

/** The frame as it crosses the underlay. */
export function vxlanDatagram(
  inner: Uint8Array,
  options: { flags?: string; vni?: number; last?: string } = {},
): Uint8Array {
  const vni = (options.vni ?? VNI).toString(16).padStart(6, '0');
  const datagram = new Uint8Array(8 + inner.length);
  datagram.set(text(`${options.flags ?? '08000000'}${vni}${options.last ?? '00'}`), 0);
  datagram.set(inner, 8);
  return datagram;
}
