/** MACs and kinds of the FDB's entries, as words and as text. Control plane; pure. */
import { KIND_LOCAL, KIND_STATIC } from '../shared/fdb.js';
import { formatMac, parseMac } from '../wire/mac.js';
import { macKeyHigh, macKeyLow, writeMacKey } from '../wire/mac-key.js';
import type { FdbKind } from './forwarding.js';

export interface MacKey {
  readonly low: number;
  readonly high16: number;
}

export function macKey(mac: string): MacKey {
  const bytes = parseMac(mac);
  return { high16: macKeyHigh(bytes, 0), low: macKeyLow(bytes, 0) };
}

export function macText(low: number, high16: number): string {
  const bytes = new Uint8Array(6);
  writeMacKey(bytes, 0, high16, low);
  return formatMac(bytes);
}

export function kindName(kind: number): FdbKind {
  return kind === KIND_LOCAL ? 'local' : kind === KIND_STATIC ? 'static' : 'dynamic';
}
