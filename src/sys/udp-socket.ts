/**
 * UDP sockets of the underlay. Non-blocking; opened by the main thread, used by a worker. Sources: socket(7), udp(7), ip(7), ipv6(7).
 */
import { lastErrno, SystemCallError } from './errno.js';
import { bind, close, dup3, getsockname, getsockopt, sendto, setsockopt, socket } from './libc.js';
import { addressOf, pin } from './memory.js';
import { AF_INET, AF_INET6, SOCKADDR_BYTES_MAX, writeSockaddr } from './sockaddr.js';

const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;

const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_SNDBUF = 7;
const SO_NO_CHECK = 11;
const SO_RCVBUF = 8;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SO_MEMINFO = 55;
/** include/uapi/linux/sock_diag.h: SK_MEMINFO_VARS words, the last is SK_MEMINFO_DROPS. */
const MEMINFO_WORDS = 9;
const MEMINFO_DROPS = 8;
const SO_REUSEPORT = 15;
const IPPROTO_IP = 0;
const IP_MTU_DISCOVER = 10;
const IP_TOS = 1;
const IP_TTL = 2;
const IP_RECVTOS = 13;
/** DF, and what the path is known not to take is refused. */
const IP_PMTUDISC_DO = 2;
/** Never set DF: what the kernel's VXLAN does by default. */
const IP_PMTUDISC_DONT = 0;
const IPPROTO_IPV6 = 41;
/** The same for IPv6: what does not fit is fragmented here. */
const IPV6_MTU_DISCOVER = 23;
const IPV6_PMTUDISC_DONT = 0;
const IPV6_PMTUDISC_DO = 2;
const IPV6_UNICAST_HOPS = 16;
const IPV6_RECVTCLASS = 66;
const IPV6_TCLASS = 67;
const SOL_UDP = 17;
const UDP_NO_CHECK6_TX = 101;
const UDP_NO_CHECK6_RX = 102;
/** Nothing of IPv4: a socket of its own has the port there. */
const IPV6_V6ONLY = 26;

/** Arguments of bind and setsockopt. */
const sockaddr = pin(new Uint8Array(SOCKADDR_BYTES_MAX));
const sockaddrAddress = addressOf(sockaddr);
const optionValue = pin(new Int32Array(1));
const optionValueAddress = addressOf(optionValue);

const meminfo = pin(new Uint32Array(MEMINFO_WORDS));
const meminfoAddress = addressOf(meminfo);

export interface UdpSocketOptions {
  /** Four bytes, or sixteen. */
  readonly address: Uint8Array;
  /** 0: the kernel picks one. */
  readonly port: number;
  readonly sendBufferBytes?: number;
  readonly receiveBufferBytes?: number;
  /** Shares the port with the user's other sockets that say so: the kernel keeps each sender's flow on one of them. */
  readonly reusePort?: boolean;
  /** For a multicast group: every socket that is bound to it gets its own copy of each datagram. */
  readonly reuseAddress?: boolean;
  /** A control message says each message's TOS or traffic class: congestion that it has met. */
  readonly receiveTos?: boolean;
  /** TOS or traffic class of what is sent. @default 0 */
  readonly tos?: number;
  /** TTL or hop limit; 0: the kernel's default. @default 0 */
  readonly ttl?: number;
  /** DF is set, and what does not fit the path is refused (EMSGSIZE). @default false: it is fragmented */
  readonly dontFragment?: boolean;
  /** Datagrams have no UDP checksum. @default false */
  readonly noChecksum?: boolean;
  /** IPv6: datagrams without a UDP checksum are taken. @default false */
  readonly acceptZeroChecksum6?: boolean;
}

/** @returns a bound, non-blocking fd. @throws SystemCallError: EADDRINUSE, EADDRNOTAVAIL, EACCES */
export function openUdpSocket(options: UdpSocketOptions): number {
  const isIpv4 = options.address.length === 4;
  const fd = socket(isIpv4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) throw new SystemCallError('socket', lastErrno());
  // Before bind, which looks at it.
  if (options.reusePort === true && !setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1)) {
    const errno = lastErrno();
    close(fd);
    throw new SystemCallError('setsockopt SO_REUSEPORT', errno);
  }
  if (!isIpv4) setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  if (options.reuseAddress === true) setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  const sockaddrBytes = writeSockaddr(sockaddr, 0, options.address, options.port);
  if (bind(fd, sockaddrAddress, sockaddrBytes) < 0) {
    const errno = lastErrno();
    close(fd);
    throw new SystemCallError('bind', errno, endText(options.address, options.port));
  }
  if (isIpv4) setIpv4Header(fd, options);
  else setIpv6Header(fd, options);
  if (options.sendBufferBytes !== undefined) setBuffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, options.sendBufferBytes);
  if (options.receiveBufferBytes !== undefined) setBuffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, options.receiveBufferBytes);
  return fd;
}

function setIpv4Header(fd: number, options: UdpSocketOptions): void {
  const { tos = 0, ttl = 0, dontFragment = false, noChecksum = false, receiveTos = false } = options;
  setOption(fd, IPPROTO_IP, IP_MTU_DISCOVER, dontFragment ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT);
  if (tos > 0) setOption(fd, IPPROTO_IP, IP_TOS, tos);
  if (ttl > 0) setOption(fd, IPPROTO_IP, IP_TTL, ttl);
  if (noChecksum) setOption(fd, SOL_SOCKET, SO_NO_CHECK, 1);
  if (receiveTos) setOption(fd, IPPROTO_IP, IP_RECVTOS, 1);
}

function setIpv6Header(fd: number, options: UdpSocketOptions): void {
  const { tos = 0, ttl = 0, dontFragment = false, noChecksum = false, receiveTos = false } = options;
  setOption(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, dontFragment ? IPV6_PMTUDISC_DO : IPV6_PMTUDISC_DONT);
  if (tos > 0) setOption(fd, IPPROTO_IPV6, IPV6_TCLASS, tos);
  if (ttl > 0) setOption(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, ttl);
  if (noChecksum) setOption(fd, SOL_UDP, UDP_NO_CHECK6_TX, 1);
  if (options.acceptZeroChecksum6 === true) setOption(fd, SOL_UDP, UDP_NO_CHECK6_RX, 1);
  if (receiveTos) setOption(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
}

/** For messages: `192.0.2.1:4789`, or the sixteen bytes in hexadecimal groups. */
function endText(address: Uint8Array, port: number): string {
  if (address.length === 4) return `${address.join('.')}:${port}`;
  const groups = Array.from({ length: 8 }, (_, i) =>
    (((address[2 * i] as number) << 8) | (address[2 * i + 1] as number)).toString(16),
  );
  return `[${groups.join(':')}]:${port}`;
}

function setOption(fd: number, level: number, option: number, value: number): boolean {
  optionValue[0] = value;
  return setsockopt(fd, level, option, optionValueAddress, 4) === 0;
}

/** The forced option needs CAP_NET_ADMIN; without it the host's limit (net.core.rmem_max, wmem_max) holds. */
function setBuffer(fd: number, forced: number, plain: number, bytes: number): void {
  if (!setOption(fd, SOL_SOCKET, forced, bytes)) setOption(fd, SOL_SOCKET, plain, bytes);
}

/** Messages that the kernel has dropped since the socket was opened, since its receive buffer was full. */
export function overflowCount(fd: number): number {
  optionValue[0] = MEMINFO_WORDS * 4;
  const isTold = getsockopt(fd, SOL_SOCKET, SO_MEMINFO, meminfoAddress, optionValueAddress) === 0;
  return isTold ? (meminfo[MEMINFO_DROPS] as number) : 0;
}

/** The port that the fd is bound to. @throws SystemCallError */
export function boundPort(fd: number): number {
  optionValue[0] = SOCKADDR_BYTES_MAX;
  if (getsockname(fd, sockaddrAddress, optionValueAddress) < 0) throw new SystemCallError('getsockname', lastErrno());
  return ((sockaddr[2] as number) << 8) | (sockaddr[3] as number);
}

/** Sends one datagram, beside whatever else the socket sends. @returns false if the kernel took none of it */
export function sendDatagram(fd: number, datagram: Uint8Array, address: Uint8Array, port: number): boolean {
  const sockaddrBytes = writeSockaddr(sockaddr, 0, address, port);
  return sendto(fd, addressOf(datagram), datagram.length, 0, sockaddrAddress, sockaddrBytes) === datagram.length;
}

/** `to` is from now on the socket that `from` was, in one step; the socket it was before is closed. @throws SystemCallError */
export function replaceUdpSocket(from: number, to: number): void {
  if (dup3(from, to, SOCK_CLOEXEC) < 0) throw new SystemCallError('dup3', lastErrno());
  close(from);
}

export function closeUdpSocket(fd: number): void {
  close(fd);
}
