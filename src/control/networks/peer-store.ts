/** Peers in the registry: VTEPs that run no vtepd, members of a network's flood list on every host. Control plane. */
import type { Peer } from '../api/schema.js';
import { VtepError } from '../errors.js';
import type { Registry } from '../registry/registry.js';
import {
  encodeValue,
  networkKey,
  PEERS_PREFIX,
  parsePeer,
  parsePeerKey,
  peerKey,
  peersPrefix,
  peerValueSchema,
} from '../registry/schema.js';
import type { NetworkStore } from './network-store.js';

export class PeerStore {
  private readonly registry: Registry;
  private readonly networks: NetworkStore;

  constructor(registry: Registry, networks: NetworkStore) {
    this.registry = registry;
    this.networks = networks;
  }

  async list(network?: string): Promise<Peer[]> {
    const listing = await this.registry.list(network === undefined ? PEERS_PREFIX : peersPrefix(network));
    const peers: Peer[] = [];
    for (const entry of listing.entries) {
      const key = parsePeerKey(entry.key);
      const value = parsePeer(entry);
      if (key !== undefined && value !== undefined) {
        peers.push({ network: key.network, address: value.address, port: value.port });
      }
    }
    return peers;
  }

  /** @throws VtepError VTEP_ERR_NETWORK_UNKNOWN, VTEP_ERR_PEER_EXISTS, VTEP_ERR_CONFLICT (the network changed) */
  async add(peer: Peer): Promise<void> {
    const network = await this.networks.require(peer.network);
    const key = peerKey(peer.network, peer.address);
    const text = { v: 1 as const, address: peer.address, port: peer.port, createdAt: new Date().toISOString() };
    const added = await this.registry.transaction([
      { verb: 'check-index', key: networkKey(peer.network), casIndex: network.modifyIndex },
      { verb: 'cas', key, value: encodeValue(peerValueSchema, text), casIndex: 0 },
    ]);
    if (added) return;
    if ((await this.registry.get(key)) !== undefined) {
      throw new VtepError(
        'VTEP_ERR_PEER_EXISTS',
        `network "${peer.network}" already has the peer ${peer.address}: remove it first`,
      );
    }
    throw new VtepError('VTEP_ERR_CONFLICT', `network "${peer.network}" changed at the same moment; try again`);
  }

  /** @throws VtepError VTEP_ERR_NETWORK_UNKNOWN, VTEP_ERR_PEER_UNKNOWN */
  async remove(network: string, address: string): Promise<void> {
    await this.networks.require(network);
    const key = peerKey(network, address);
    if ((await this.registry.get(key)) === undefined) {
      throw new VtepError(
        'VTEP_ERR_PEER_UNKNOWN',
        `network "${network}" has no peer ${address}: "vtep network inspect ${network}" shows its peers`,
      );
    }
    await this.registry.delete(key);
  }
}
