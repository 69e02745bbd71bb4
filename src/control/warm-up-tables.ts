/** Fills the private tables of a worker's warm-up (dataplane/warm-up.ts). Main thread, once a worker. */
import { fdbKeyHigh, KIND_STATIC } from '../shared/fdb.js';
import { NEIGHBOUR_REMOTE } from '../shared/neighbour-table.js';
import { allocateTables } from '../shared/tables.js';
import {
  WARM_UP_IP_THERE,
  WARM_UP_MAC_HERE,
  WARM_UP_MAC_HIGH16,
  WARM_UP_MAC_THERE,
  WARM_UP_MTU_BYTES,
  WARM_UP_PEER,
  WARM_UP_SELF,
  type WarmUpInput,
} from '../shared/warm-up.js';
import { FdbWriter } from '../shared/writers/fdb-writer.js';
import { NeighbourWriter } from '../shared/writers/neighbour-writer.js';
import { NetworkWriter } from '../shared/writers/network-writer.js';
import { VtepWriter } from '../shared/writers/vtep-writer.js';
import { numberToIPv4, parseIp } from '../wire/ip-address.js';

const FDB_ENTRIES = 16;

export function makeWarmUpTables(families: readonly (4 | 6)[]): WarmUpInput {
  const tables = allocateTables(1, FDB_ENTRIES);
  const networks = new NetworkWriter(tables.networks, tables.vnis, tables.membership);
  const vteps = new VtepWriter(tables.vteps);
  const fdb = new FdbWriter(tables.fdb);
  vteps.add(Uint8Array.from(WARM_UP_SELF), 0);
  const there = { macLow: WARM_UP_MAC_THERE, macHigh16: WARM_UP_MAC_HIGH16, kind: NEIGHBOUR_REMOTE, router: false };
  const neighbours = new NeighbourWriter(tables.neighbours);
  const paths = families.map((family) => {
    const peerVtep = vteps.add(Uint8Array.from(WARM_UP_PEER[family]), 0);
    const networkIndex = networks.reserve();
    const row = { vni: family, tapFds: [], mtuBytes: WARM_UP_MTU_BYTES, learning: true, suppression: true };
    networks.publish(networkIndex, row);
    networks.addMember(networkIndex, peerVtep);
    // The peer sends back what it gets, so both MACs are behind it.
    for (const mac of [WARM_UP_MAC_HERE, WARM_UP_MAC_THERE]) {
      fdb.set(mac, fdbKeyHigh(WARM_UP_MAC_HIGH16, networkIndex), KIND_STATIC, peerVtep, 0);
    }
    neighbours.set(networkIndex, parseIp(numberToIPv4(WARM_UP_IP_THERE)), there);
    return { family, networkIndex, peerVtep };
  });
  return { tables, paths };
}
