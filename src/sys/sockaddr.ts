/**
 * struct sockaddr_in, byte by byte: family (native order), port and address (network order). Source: ip(7).
 */
export const AF_INET = 2;
export const SOCKADDR_IN_BYTES = 16;

/** Writes a struct sockaddr_in at `offset`. `address` is four bytes. */
export function writeSockaddrIn(bytes: Uint8Array, offset: number, address: Uint8Array, port: number): void {
  bytes.fill(0, offset, offset + SOCKADDR_IN_BYTES);
  bytes[offset] = AF_INET;
  bytes[offset + 2] = port >> 8;
  bytes[offset + 3] = port & 0xff;
  bytes.set(address.subarray(0, 4), offset + 4);
}
