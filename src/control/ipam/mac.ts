/** Random MAC addresses for endpoints and bridges. */
import { randomBytes } from 'node:crypto';

/** Six bytes, the first 02: locally administered, unicast. */
export function randomMac(): string {
  return ['02', ...[...randomBytes(5)].map((byte) => byte.toString(16).padStart(2, '0'))].join(':');
}
