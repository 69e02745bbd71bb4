/** The FDB as people and the API see it. Main thread; a reading, entry by entry. */
import { KIND_DYNAMIC, KIND_LOCAL, KIND_STATIC } from '../shared/fdb.js';
import type { FdbWriter } from '../shared/writers/fdb-writer.js';
import { formatMac, macKeyHigh, macKeyLow, parseMac } from '../wire/mac.js';
import { writeMacKey } from '../wire/mac-key.js';
import type { FdbEntry, FdbKind, ForwardingNetwork, VtepAddress } from './forwarding.js';

export interface MacKey {
  readonly low: number;
  readonly high16: number;
}

export interface FdbSources {
  readonly fdb: FdbWriter;
  /** By network index; undefined: it is closed. */
  readonly networkOf: (index: number) => ForwardingNetwork | undefined;
  readonly vtepOf: (index: number) => VtepAddress | undefined;
  readonly clockSeconds: number;
}

/** @param vni of the one network that is asked for. @default all */
export function listFdb({ fdb, networkOf, vtepOf, clockSeconds }: FdbSources, vni?: number): FdbEntry[] {
  const entries: FdbEntry[] = [];
  fdb.forEach((keyLow, keyHigh, kind, vtepIndex, seconds) => {
    const network = networkOf(keyHigh & 0xffff);
    if (network === undefined || kind > KIND_DYNAMIC || (vni !== undefined && network.vni !== vni)) return;
    const vtep = kind === KIND_LOCAL ? undefined : vtepOf(vtepIndex);
    entries.push({
      vni: network.vni,
      network: network.name,
      mac: macText(keyLow, keyHigh >>> 16),
      kind: kindName(kind),
      ...(vtep === undefined ? {} : { vtep: { address: vtep.address, port: vtep.port } }),
      ...(kind === KIND_DYNAMIC ? { idleSeconds: Math.max(0, clockSeconds - seconds) } : {}),
    });
  });
  return entries.sort((a, b) => a.vni - b.vni || (a.mac < b.mac ? -1 : 1));
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

function kindName(kind: number): FdbKind {
  return kind === KIND_LOCAL ? 'local' : kind === KIND_STATIC ? 'static' : 'dynamic';
}
