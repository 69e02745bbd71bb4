/**
 * The neighbour table as the control plane has it: who won an address (mac-claims.ts) becomes an entry that workers answer
 * from, and the listing that operators read. Main thread; part of forwarding-tables.ts.
 */
import { setImmediate } from 'node:timers/promises';
import type { Logger } from 'pino';
import { NEIGHBOUR_GATEWAY, NEIGHBOUR_LOCAL, NEIGHBOUR_REMOTE } from '../shared/neighbour-table.js';
import { NeighbourWriter } from '../shared/writers/neighbour-writer.js';
import { formatIp, parseIp } from '../wire/ip-address.js';
import { formatMacKey, macHigh16, macLow32 } from '../wire/mac.js';
import type { NeighbourEntry, NeighbourKind, VtepAddress } from './forwarding.js';
import { nodeOfSource } from './forwarding-source.js';
import { gatewayMac } from './ipam/mac.js';
import { type AddressWinner, LOCAL_SOURCE, type MacClaims } from './mac-claims.js';

/** Entries that go in one turn of the event loop. */
const REMOVALS_AT_ONCE = 1024;

/** What this needs of an open network. */
export interface NeighbourNetwork {
  readonly index: number;
  readonly network: { readonly name: string; readonly vni: number };
  readonly claims: MacClaims;
}

export class Neighbours {
  readonly #writer: NeighbourWriter;
  readonly #logger: Logger;
  /** By network index: addresses that are flooded though they are registered. */
  readonly #doubted = new Map<number, Set<string>>();
  #isFull = false;

  constructor(buffer: SharedArrayBuffer, logger: Logger) {
    this.#writer = new NeighbourWriter(buffer);
    this.#logger = logger;
  }

  write({ index, network }: NeighbourNetwork, address: string, winner: AddressWinner | undefined): void {
    const bytes = parseIp(address);
    this.#doubted.get(index)?.delete(address);
    if (winner === undefined) {
      this.#writer.remove(index, bytes);
      return;
    }
    const kind = kindOf(winner, network.vni);
    const router = kind === NEIGHBOUR_GATEWAY;
    const entry = { macLow: macLow32(winner.mac), macHigh16: macHigh16(winner.mac), kind, router };
    const isWritten = this.#writer.set(index, bytes, entry);
    if (!isWritten && !this.#isFull) {
      const text = 'the neighbour table is full: ARP and ND for what it lacks are flooded (--fdb-entries)';
      this.#logger.error({ event: 'neighbours.full', network: network.name, address }, text);
    }
    this.#isFull = !isWritten;
  }

  /**
   * Somebody uses addresses of the endpoint with this MAC, but another MAC: they are flooded until its host publishes
   * again, or the registry gives them to others.
   */
  doubt(open: NeighbourNetwork | undefined, mac: string, vtep: string | undefined): void {
    if (open === undefined) return;
    const { index, network, claims } = open;
    const doubted = this.#doubted.get(index) ?? new Set();
    const addresses = claims.remoteAddressesOf(mac).filter((address) => !doubted.has(address));
    if (addresses.length === 0) return;
    for (const address of addresses) {
      this.#writer.remove(index, parseIp(address));
      doubted.add(address);
    }
    this.#doubted.set(index, doubted);
    this.#logger.info(
      { event: 'neighbours.doubted', network: network.name, mac, addresses, vtep },
      `an address of MAC ${mac} is used by another one: ARP and ND for ${addresses.join(', ')} are flooded`,
    );
  }

  /** `source` has published: what it says of its addresses is new. */
  reaffirm(open: NeighbourNetwork, source: string): void {
    for (const address of this.#doubted.get(open.index) ?? []) {
      const winner = open.claims.addressWinner(address);
      if (winner?.source === source) this.write(open, address, winner);
    }
  }

  /** @returns when no entry of the network is left; none comes meanwhile */
  async removeNetwork({ index, claims }: NeighbourNetwork): Promise<void> {
    this.#doubted.delete(index);
    let removals = 0;
    for (const address of claims.addresses()) {
      this.#writer.remove(index, parseIp(address));
      if (++removals % REMOVALS_AT_ONCE === 0) await setImmediate();
    }
  }

  /** Of these networks. */
  list(
    networks: readonly (NeighbourNetwork | undefined)[],
    vtepAt: (index: number) => VtepAddress | undefined,
  ): NeighbourEntry[] {
    const byIndex = new Map(networks.map((open) => [open?.index, open]));
    const entries: NeighbourEntry[] = [];
    this.#writer.forEach((index, bytes, neighbour) => {
      const open = byIndex.get(index);
      if (open === undefined) return;
      const address = formatIp(bytes);
      const winner = open.claims.addressWinner(address);
      const isRemote = neighbour.kind === NEIGHBOUR_REMOTE;
      const vtep = winner === undefined || !isRemote ? undefined : vtepAt(winner.vtepIndex);
      const node = isRemote && winner !== undefined ? nodeOfSource(winner.source) : undefined;
      entries.push({
        vni: open.network.vni,
        network: open.network.name,
        address,
        mac: formatMacKey(neighbour.macHigh16, neighbour.macLow),
        kind: kindName(neighbour.kind),
        ...(node === undefined ? {} : { node }),
        ...(vtep === undefined ? {} : { vtep: { address: vtep.address, port: vtep.port } }),
      });
    });
    return entries.sort((a, b) => a.vni - b.vni || compareAddresses(a.address, b.address));
  }
}

function kindOf({ source, mac }: AddressWinner, vni: number): number {
  if (source !== LOCAL_SOURCE) return NEIGHBOUR_REMOTE;
  return mac === gatewayMac(vni) ? NEIGHBOUR_GATEWAY : NEIGHBOUR_LOCAL;
}

function kindName(kind: number): NeighbourKind {
  if (kind === NEIGHBOUR_GATEWAY) return 'gateway';
  return kind === NEIGHBOUR_LOCAL ? 'local' : 'remote';
}

/** IPv4 before IPv6, each by number. */
function compareAddresses(one: string, other: string): number {
  const [a, b] = [parseIp(one), parseIp(other)];
  return a.length - b.length || Buffer.compare(a, b);
}
