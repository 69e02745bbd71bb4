/**
 * The underlay's UDP sockets of this VTEP on one address. Each worker has one that receives on the VXLAN port, and a pool
 * that sends, each from a port of its own (source-ports.ts). A host with an address of each family has each set twice.
 *
 * With more than one worker the receiving sockets are a SO_REUSEPORT group: the kernel hashes the outer addresses and
 * ports, so that a flow stays on one socket and in order.
 */
import type { UnderlaySockets } from '../shared/worker-input.js';
import { enableUdpGro } from '../sys/udp-offloads.js';
import { closeUdpSocket, openUdpSocket, type UdpSocketOptions } from '../sys/udp-socket.js';
import { formatIp, parseIp } from '../wire/ip-address.js';
import { VtepError } from './errors.js';
import { OUTER_HEADER_DEFAULT, type OuterHeader } from './outer-header.js';
import { type PortRange, portCount, SOURCE_PORTS_PER_WORKER } from './source-ports.js';
import { endText } from './vtep-address.js';

const SOCKET_BUFFER_BYTES = 8 * 1024 * 1024;
/** Nothing is expected there; what comes all the same is left to fall out of a small queue. */
const UNREAD_BUFFER_BYTES = 2048;

export interface UnderlaySocketOptions {
  readonly port: number;
  readonly workers: number;
  readonly sourcePorts: PortRange;
  /** UDP_GRO on what receives. */
  readonly gro: boolean;
  /** @default OUTER_HEADER_DEFAULT */
  readonly outer?: OuterHeader;
}

/**
 * @param ip this host's, of either family
 * @returns by worker index. @throws VtepError VTEP_ERR_PORT_IN_USE, VTEP_ERR_UNDERLAY, VTEP_ERR_KERNEL
 */
export function openUnderlaySockets(ip: string, options: UnderlaySocketOptions): UnderlaySockets[] {
  const address = parseIp(ip);
  const family = address.length === 4 ? 4 : 6;
  const opened: number[] = [];
  const keep = (fd: number): number => {
    opened.push(fd);
    return fd;
  };
  try {
    const rxFds = openReceivers(address, options, keep);
    const txFds = openSenders(address, options, keep);
    return rxFds.map((rxFd, worker) => {
      const start = worker * SOURCE_PORTS_PER_WORKER;
      return { family, rxFd, txFds: txFds.slice(start, start + SOURCE_PORTS_PER_WORKER) };
    });
  } catch (error) {
    for (const fd of opened) closeUdpSocket(fd);
    throw error;
  }
}

export function closeUnderlaySockets(sockets: UnderlaySockets): void {
  closeUdpSocket(sockets.rxFd);
  for (const fd of sockets.txFds) closeUdpSocket(fd);
}

function openReceivers(
  address: Uint8Array,
  { port, workers, gro, outer }: UnderlaySocketOptions,
  keep: (fd: number) => number,
): number[] {
  const reusePort = workers > 1;
  // A group would let in whoever else of the same user says SO_REUSEPORT, another vtepd for one, and the two would share
  // the datagrams in silence. So a socket that shares with nobody asks first. Between its close and the group's bind
  // another can take the port: the window is some microseconds, and one who binds with SO_REUSEPORT later is not seen.
  if (reusePort) closeUdpSocket(open({ address, port }));
  return Array.from({ length: workers }, () => {
    const buffers = { sendBufferBytes: UNREAD_BUFFER_BYTES, receiveBufferBytes: SOCKET_BUFFER_BYTES };
    const header = { receiveTos: true, acceptZeroChecksum6: outer?.acceptZeroChecksum6 === true };
    const fd = keep(open({ address, port, reusePort, ...header, ...buffers }));
    if (gro) enableUdpGro(fd);
    return fd;
  });
}

/** Free ports of the range, in order from one at random, until every worker has its number. */
function openSenders(
  address: Uint8Array,
  { workers, sourcePorts, outer = OUTER_HEADER_DEFAULT }: UnderlaySocketOptions,
  keep: (fd: number) => number,
): number[] {
  const wanted = workers * SOURCE_PORTS_PER_WORKER;
  const ports = portCount(sourcePorts);
  const start = Math.floor(Math.random() * ports);
  const buffers = { sendBufferBytes: SOCKET_BUFFER_BYTES, receiveBufferBytes: UNREAD_BUFFER_BYTES };
  const fds: number[] = [];
  for (let tries = 0; tries < ports && fds.length < wanted; tries++) {
    const port = sourcePorts.first + ((start + tries) % ports);
    try {
      fds.push(keep(open({ address, port, ...buffers, ...senderHeader(outer, fds.length) })));
    } catch (error) {
      if (!(error instanceof VtepError) || error.code !== 'VTEP_ERR_PORT_IN_USE') throw error;
    }
  }
  if (fds.length < wanted) {
    const range = `${sourcePorts.first}-${sourcePorts.last}`;
    const message = `of the UDP source ports ${range} on ${formatIp(address)} only ${fds.length} are free, and ${workers} x ${SOURCE_PORTS_PER_WORKER} are needed: give a wider range with --source-ports`;
    throw new VtepError('VTEP_ERR_PORT_IN_USE', message);
  }
  return fds;
}

/** The outer header of what the socket at a place of the pools sends. */
function senderHeader({ tos, ttl, df, checksum }: OuterHeader, place: number): Partial<UdpSocketOptions> {
  // The upper half of each pool: what a worker takes for a packet with DF (dataplane/outer-header.ts).
  const isUpperHalf = place % SOURCE_PORTS_PER_WORKER >= SOURCE_PORTS_PER_WORKER / 2;
  return {
    tos: tos === 'inherit' ? 0 : tos,
    ttl,
    dontFragment: df === 'set' || (df === 'inherit' && isUpperHalf),
    noChecksum: !checksum,
  };
}

function open(options: UdpSocketOptions): number {
  const { port } = options;
  const address = formatIp(options.address);
  try {
    return openUdpSocket(options);
  } catch (cause) {
    const code = (cause as { code?: string }).code;
    if (code === 'EADDRINUSE') {
      const message = `UDP port ${port} on ${address} is in use: choose another with --port, or stop what holds it`;
      throw new VtepError('VTEP_ERR_PORT_IN_USE', message, { cause });
    }
    if (code === 'EADDRNOTAVAIL') {
      const message = `the underlay address ${address} is not on this host: give one of its own with --advertise`;
      throw new VtepError('VTEP_ERR_UNDERLAY', message, { cause });
    }
    const message = `the underlay socket ${endText(address, port)} can't be opened: ${(cause as Error).message}`;
    throw new VtepError('VTEP_ERR_KERNEL', message, { cause });
  }
}
