/** The FDB as people and the API see it. Main thread; a reading, entry by entry. */
import { KIND_DYNAMIC, KIND_LOCAL, KIND_STATIC } from '../shared/fdb.js';
import type { FdbWriter } from '../shared/writers/fdb-writer.js';
import { formatMacKey } from '../wire/mac.js';
import type { FdbEntry, FdbKind, ForwardingNetwork, VtepAddress } from './forwarding.js';

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
      mac: formatMacKey(keyHigh >>> 16, keyLow),
      kind: kindName(kind),
      ...(vtep === undefined ? {} : { vtep: { address: vtep.address, port: vtep.port } }),
      ...(kind === KIND_DYNAMIC ? { idleSeconds: Math.max(0, clockSeconds - seconds) } : {}),
    });
  });
  return entries.sort((a, b) => a.vni - b.vni || (a.mac < b.mac ? -1 : 1));
}

function kindName(kind: number): FdbKind {
  return kind === KIND_LOCAL ? 'local' : kind === KIND_STATIC ? 'static' : 'dynamic';
}
