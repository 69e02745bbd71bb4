/**
 * struct sockaddr_in and sockaddr_in6, byte by byte: family (native order), port and address (network order); behind them
 * flow information and scope, which stay 0. Sources: ip(7), ipv6(7).
 */
export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCKADDR_IN_BYTES = 16;
export const SOCKADDR_IN6_BYTES = 28;
/** Room for either. */
export const SOCKADDR_BYTES_MAX = SOCKADDR_IN6_BYTES;

/** Writes the family's struct at `offset`. @param address 4 or 16 bytes. @returns its length */
export function writeSockaddr(bytes: Uint8Array, offset: number, address: Uint8Array, port: number): number {
  const isIpv4 = address.length === 4;
  const length = isIpv4 ? SOCKADDR_IN_BYTES : SOCKADDR_IN6_BYTES;
  bytes.fill(0, offset, offset + length);
  bytes[offset] = isIpv4 ? AF_INET : AF_INET6;
  bytes[offset + 2] = port >> 8;
  bytes[offset + 3] = port & 0xff;
  bytes.set(address, offset + (isIpv4 ? 4 : 8));
  return length;
}
