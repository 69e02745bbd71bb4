/**
 * @hot
 * The one bounds test that every check in wire/ makes before it reads.
 *
 * A check takes (bytes, offset, length): `length` bytes from `offset` are the caller's to look at. After a check has
 * answered 0 (OK), the accessors of that header can't leave the buffer; they test nothing themselves.
 */

/** @returns whether `length` bytes lie in the buffer from `offset`, and are at least `bytesMin`. */
export function fits(bytes: Uint8Array, offset: number, length: number, bytesMin: number): boolean {
  return length >= bytesMin && offset >= 0 && offset <= bytes.length - length;
}
