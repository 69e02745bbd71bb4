/**
 * What the kernel knows of the MTU of the path to an address: of the route, or less where a router has told by ICMP. For a
 * while, and for this path alone (ip(7), IP_MTU; a route exception, ten minutes by default).
 */
import { close, connect, getsockopt, socket } from './libc.js';
import { addressOf, pin } from './memory.js';
import { AF_INET, AF_INET6 } from './sockaddr.js';

const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const IPPROTO_IP = 0;
const IP_MTU = 14;
const IPPROTO_IPV6 = 41;
const IPV6_MTU = 24;

const value = pin(new Int32Array(2));
const valueAddress = addressOf(value);
const lengthAddress = valueAddress + 4;

/** @param sockaddrAddress machine address of a socket address. @returns 0 if there is no route */
export function pathMtu(sockaddrAddress: number, sockaddrBytes: number, isIpv6: boolean): number {
  const fd = socket(isIpv6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return 0;
  value[0] = 0;
  value[1] = 4;
  const isKnown =
    connect(fd, sockaddrAddress, sockaddrBytes) === 0 &&
    getsockopt(fd, isIpv6 ? IPPROTO_IPV6 : IPPROTO_IP, isIpv6 ? IPV6_MTU : IP_MTU, valueAddress, lengthAddress) === 0;
  close(fd);
  return isKnown ? (value[0] as number) : 0;
}
