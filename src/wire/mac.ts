/**
 * MAC addresses as text and back. Cold: configuration, messages, the API. The integer form of the hot path is in
 * mac-key.ts and is handed on from here.
 */
import { macKeyHigh, macKeyLow, writeMacKey } from './mac-key.js';

export { macKeyHigh, macKeyLow, writeMacKey } from './mac-key.js';

export const MAC_BYTES = 6;

const MAC_TEXT = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i;

/**
 * @param text six hexadecimal bytes with colons, upper or lower case
 * @returns six bytes
 * @throws Error naming the text
 */
export function parseMac(text: string): Uint8Array {
  if (!MAC_TEXT.test(text)) {
    throw new Error(`MAC address "${text}" is not six hexadecimal bytes such as 02:00:5e:10:00:01`);
  }
  const mac = new Uint8Array(MAC_BYTES);
  for (let i = 0; i < MAC_BYTES; i++) mac[i] = Number.parseInt(text.slice(i * 3, i * 3 + 2), 16);
  return mac;
}

/** @returns the MAC at `offset` in lower case with colons. @throws Error if the buffer ends before it does. */
export function formatMac(bytes: Uint8Array, offset = 0): string {
  if (offset < 0 || offset + MAC_BYTES > bytes.length) {
    throw new Error(`MAC address at offset ${offset} does not lie in a buffer of ${bytes.length} bytes`);
  }
  let text = '';
  for (let i = 0; i < MAC_BYTES; i++) {
    if (i > 0) text += ':';
    text += bytes[offset + i]!.toString(16).padStart(2, '0');
  }
  return text;
}

/** @returns bytes 0 and 1, 0 to 65535. @throws Error for a text that is no MAC */
export function macHigh16(mac: string | Uint8Array): number {
  return macKeyHigh(typeof mac === 'string' ? parseMac(mac) : mac, 0);
}

/** @returns bytes 2 to 5 as a signed int32. @throws Error for a text that is no MAC */
export function macLow32(mac: string | Uint8Array): number {
  return macKeyLow(typeof mac === 'string' ? parseMac(mac) : mac, 0);
}

/** The text of what macHigh16 and macLow32 give. */
export function formatMacKey(high16: number, low32: number): string {
  const mac = new Uint8Array(MAC_BYTES);
  writeMacKey(mac, 0, high16, low32);
  return formatMac(mac);
}
