/**
 * Multicast of the underlay: which interface a socket sends groups by, and which groups it receives. Sources: ip(7), ipv6(7),
 * net/ipv4/igmp.c, net/ipv6/mcast.c.
 *
 * An interface goes by its index: unlike an address it names one interface for good, also to leave by when it is gone.
 */
import { lastErrno, SystemCallError } from './errno.js';
import { ifNametoindex, setsockopt } from './libc.js';
import { addressOf, pin } from './memory.js';

const IPPROTO_IP = 0;
const IP_MULTICAST_IF = 32;
const IP_MULTICAST_TTL = 33;
const IP_MULTICAST_LOOP = 34;
const IP_ADD_MEMBERSHIP = 35;
const IP_DROP_MEMBERSHIP = 36;
const IP_MULTICAST_ALL = 49;
const IPPROTO_IPV6 = 41;
const IPV6_MULTICAST_IF = 17;
const IPV6_MULTICAST_HOPS = 18;
const IPV6_MULTICAST_LOOP = 19;
const IPV6_ADD_MEMBERSHIP = 20;
const IPV6_DROP_MEMBERSHIP = 21;
const IPV6_MULTICAST_ALL = 29;

/** struct ip_mreqn: group 4, address 4, interface index. struct ipv6_mreq: group 16, interface index. */
const MREQN_BYTES = 12;
const MREQ6_BYTES = 20;
const argument = pin(new Uint8Array(MREQ6_BYTES));
const argumentView = new DataView(argument.buffer);
const argumentAddress = addressOf(argument);

export interface MulticastSending {
  readonly interfaceIndex: number;
  /** TTL, or hop limit. */
  readonly hops: number;
}

/** @returns 0 where there is no such interface */
export function interfaceIndexOf(name: string): number {
  return ifNametoindex(name);
}

/** What is sent to groups leaves by the interface, and no socket of this host gets it back. @throws SystemCallError ENODEV */
export function setMulticastSending(fd: number, family: 4 | 6, { interfaceIndex, hops }: MulticastSending): void {
  if (family === 4) {
    writeMreqn(undefined, interfaceIndex);
    set(fd, IPPROTO_IP, IP_MULTICAST_IF, MREQN_BYTES, 'IP_MULTICAST_IF');
    setNumber(fd, IPPROTO_IP, IP_MULTICAST_TTL, hops, 'IP_MULTICAST_TTL');
    setNumber(fd, IPPROTO_IP, IP_MULTICAST_LOOP, 0, 'IP_MULTICAST_LOOP');
    return;
  }
  setNumber(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, interfaceIndex, 'IPV6_MULTICAST_IF');
  setNumber(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, hops, 'IPV6_MULTICAST_HOPS');
  setNumber(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0, 'IPV6_MULTICAST_LOOP');
}

/** The socket gets what its own memberships bring, and not what other programs have joined. @throws SystemCallError */
export function receiveOwnGroupsOnly(fd: number, family: 4 | 6): void {
  if (family === 4) setNumber(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0, 'IP_MULTICAST_ALL');
  else setNumber(fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0, 'IPV6_MULTICAST_ALL');
}

/** @param group 4 or 16 bytes. @throws SystemCallError ENODEV, ENOBUFS (net.ipv4.igmp_max_memberships), EADDRINUSE */
export function joinGroup(fd: number, group: Uint8Array, interfaceIndex: number): void {
  if (group.length === 4) {
    writeMreqn(group, interfaceIndex);
    set(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, MREQN_BYTES, 'IP_ADD_MEMBERSHIP');
  } else {
    writeMreq6(group, interfaceIndex);
    set(fd, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, MREQ6_BYTES, 'IPV6_ADD_MEMBERSHIP');
  }
}

/** @throws SystemCallError EADDRNOTAVAIL: the socket is no member there */
export function leaveGroup(fd: number, group: Uint8Array, interfaceIndex: number): void {
  if (group.length === 4) {
    writeMreqn(group, interfaceIndex);
    set(fd, IPPROTO_IP, IP_DROP_MEMBERSHIP, MREQN_BYTES, 'IP_DROP_MEMBERSHIP');
  } else {
    writeMreq6(group, interfaceIndex);
    set(fd, IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, MREQ6_BYTES, 'IPV6_DROP_MEMBERSHIP');
  }
}

function writeMreqn(group: Uint8Array | undefined, interfaceIndex: number): void {
  argument.fill(0);
  if (group !== undefined) argument.set(group, 0);
  argumentView.setInt32(8, interfaceIndex, true);
}

function writeMreq6(group: Uint8Array, interfaceIndex: number): void {
  argument.set(group, 0);
  argumentView.setInt32(16, interfaceIndex, true);
}

function setNumber(fd: number, level: number, option: number, value: number, name: string): void {
  argumentView.setInt32(0, value, true);
  set(fd, level, option, 4, name);
}

function set(fd: number, level: number, option: number, bytes: number, name: string): void {
  if (setsockopt(fd, level, option, argumentAddress, bytes) < 0)
    throw new SystemCallError(`setsockopt ${name}`, lastErrno());
}
