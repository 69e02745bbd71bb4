/** Where a network's floods go: to the underlay's group or to copies, and which copies snooping saves. Main thread. */
import type { FdbWriter } from '../shared/writers/fdb-writer.js';
import type { FloodStatus, ForwardingNetwork } from './forwarding.js';
import { Snooper } from './snooper.js';
import { UnderlayMulticast, type UnderlayMulticastOptions } from './underlay-multicast.js';

export interface FloodsOptions extends UnderlayMulticastOptions {
  readonly fdb: FdbWriter;
  /** How often containers are asked for their memberships. */
  readonly queryIntervalSeconds: number;
  /** Events that had no room in a worker's ring, of one network, so far. */
  readonly eventsLost: (networkIndex: number) => number;
}

export class Floods {
  readonly #multicast: UnderlayMulticast;
  readonly #snooper: Snooper;

  constructor(options: FloodsOptions) {
    this.#multicast = new UnderlayMulticast(options);
    const send = (vtepIndex: number, datagram: Uint8Array) => this.#multicast.send(vtepIndex, datagram);
    this.#snooper = new Snooper({ ...options, send });
  }

  /** Idempotent. Before the network's row is published. @param toContainers writes a frame to the network's TAP */
  open(index: number, network: ForwardingNetwork, toContainers: (frame: Uint8Array) => void): void {
    this.#multicast.open(index, network);
    if (network.snooping !== false) this.#snooper.open(index, network.vni, toContainers);
  }

  /** Once no frame finds the network any more. */
  close(index: number): void {
    this.#snooper.close(index);
    this.#multicast.close(index);
  }

  /** The source's VTEP (Forwarding.setRemote) is a member of the network. */
  setMember(index: number, source: string, vtepIndex: number): void {
    this.#multicast.setMember(index, source, vtepIndex);
    this.#snooper.setMember(index, source, vtepIndex);
  }

  removeMember(index: number, source: string): void {
    this.#multicast.removeMember(index, source);
    this.#snooper.removeMember(index, source);
  }

  /** An event of a worker's that is neither of learning nor of a conflict. */
  heard(type: number, index: number, word2: number, word3: number, vtepIndex: number): void {
    this.#multicast.heard(type, index, word2, word3, vtepIndex);
    this.#snooper.heard(type, index, word2, word3, vtepIndex);
  }

  /** Every second. */
  tick(): void {
    this.#snooper.tick();
  }

  /** The sending sockets are others, or the link was away. */
  renew(): void {
    this.#multicast.renew();
  }

  status(index: number): FloodStatus {
    return this.#multicast.status(index);
  }

  overflows(): number {
    return this.#multicast.overflows();
  }

  /** Only once the workers have ended. */
  end(): Promise<void> {
    return this.#multicast.end();
  }
}
