/**
 * Networks whose floods may go by a multicast group of the underlay: what is joined, and which networks send by their group.
 * Main thread.
 *
 *     flood       this host receives the group   this host sends floods
 *     replicate   no                             a copy to each member
 *     multicast   yes                            to the group
 *     auto        yes                            a copy to each member, until the group is proved
 *
 * Sending changes by one word of the network's row. A group is a row of the VTEP table like any other place that is sent to.
 */
import type { Logger } from 'pino';
import { EVENT_GROUP_ANSWER, EVENT_GROUP_PROBE } from '../shared/event-ring.js';
import type { NetworkWriter } from '../shared/writers/network-writer.js';
import { interfaceIndexOf, setMulticastSending } from '../sys/multicast.js';
import { sendDatagram } from '../sys/udp-socket.js';
import { GROUP_ANSWER, GROUP_PROBE } from '../wire/group-probe.js';
import { type IpFamily, parseIp } from '../wire/ip-address.js';
import type { FloodStatus, ForwardingNetwork } from './forwarding.js';
import { isPeerSource } from './forwarding-source.js';
import { GroupProber } from './group-prober.js';
import { MulticastGroups } from './multicast-groups.js';
import { defaultGroup } from './networks/multicast-group.js';
import type { VtepRegistrar } from './vtep-registrar.js';
import type { WorkerDescriptors } from './worker-descriptors.js';

export interface UnderlayMulticastOptions {
  readonly interfaceName: string;
  readonly port: number;
  /** Those that this host has an address of. */
  readonly families: readonly IpFamily[];
  /** TTL of what is sent to groups. */
  readonly hops: number;
  /** Other hosts from which on a network in `auto` floods by its group. */
  readonly hostsMin: number;
  readonly gro: boolean;
  readonly workers: readonly WorkerDescriptors[];
  readonly networks: NetworkWriter;
  readonly vteps: VtepRegistrar;
  readonly settle: () => Promise<void>;
  readonly logger: Logger;
}

interface GroupedNetwork {
  readonly flood: 'auto' | 'multicast';
  /** What is sent to. */
  readonly group: string;
  /** That one, and of a network without a group of its own that of the other family: hosts that have it alone send there. */
  readonly received: readonly string[];
  /** The group's row in the VTEP table. */
  readonly vtepIndex: number;
  /** The VTEP of each source (Forwarding.setRemote). */
  readonly sources: Map<string, number>;
}

export class UnderlayMulticast {
  readonly #options: UnderlayMulticastOptions;
  readonly #groups: MulticastGroups;
  readonly #prober: GroupProber;
  /** By network index. */
  readonly #networks = new Map<number, GroupedNetwork>();
  /** Networks that should have a group and can't, and why. */
  readonly #refused = new Map<number, string>();

  constructor(options: UnderlayMulticastOptions) {
    this.#options = options;
    const { interfaceName, port, gro, settle, logger } = options;
    const epollFds = options.workers.map(({ epollFd }) => epollFd);
    const onInterface = (index: number) => this.#prepareSenders(index);
    this.#groups = new MulticastGroups({ ...{ interfaceName, port, gro, epollFds, settle, logger }, onInterface });
    this.#prepareSenders(interfaceIndexOf(interfaceName));
    const { vteps, hostsMin } = options;
    this.#prober = new GroupProber({
      ...{ hostsMin, logger },
      send: (vtepIndex, datagram) => this.send(vtepIndex, datagram),
      nameOf: (vtepIndex) => vteps.get(vtepIndex)?.address ?? 'a VTEP that has left',
      onChange: (index, isMulticast) => {
        const network = this.#networks.get(index);
        if (network !== undefined) options.networks.setGroup(index, isMulticast ? network.vtepIndex : 0);
      },
    });
  }

  /** Idempotent. Call it before the network's row is published. */
  open(index: number, network: ForwardingNetwork): void {
    const { flood = 'replicate' } = network;
    if (flood === 'replicate' || this.#networks.has(index)) return;
    const { families, vteps, networks, port, logger } = this.#options;
    const [group, ...others] =
      network.group === undefined ? families.map((family) => defaultGroup(network.vni, family)) : [network.group];
    if (group === undefined) return;
    if (!families.includes(group.includes(':') ? 6 : 4)) {
      const reason = `this host has no underlay address of the family of group ${group}`;
      this.#refused.set(index, reason);
      const text = `network "${network.name}" floods by copies: ${reason}`;
      logger.error({ event: 'multicast.no-family', network: network.name, group }, text);
      return;
    }
    const vtepIndex = vteps.acquireGroup({ address: group, port });
    const received = [group, ...others];
    this.#networks.set(index, { flood, group, received, vtepIndex, sources: new Map() });
    for (const one of received) this.#groups.join(one);
    if (flood === 'multicast') networks.setGroup(index, vtepIndex);
    else this.#prober.open(index, network, vtepIndex);
  }

  /** The source's VTEP is a member of the network. */
  setMember(index: number, source: string, vtepIndex: number): void {
    const network = this.#networks.get(index);
    if (network?.flood !== 'auto' || network.sources.get(source) === vtepIndex) return;
    this.removeMember(index, source);
    network.sources.set(source, vtepIndex);
    this.#prober.addMember(index, vtepIndex, isPeerSource(source));
  }

  removeMember(index: number, source: string): void {
    const network = this.#networks.get(index);
    const vtepIndex = network?.sources.get(source);
    if (network === undefined || vtepIndex === undefined) return;
    network.sources.delete(source);
    const isNamedByAnother = [...network.sources].some(
      ([other, named]) => named === vtepIndex && isPeerSource(other) === isPeerSource(source),
    );
    if (!isNamedByAnother) this.#prober.removeMember(index, vtepIndex, isPeerSource(source));
  }

  /** A worker has got a probe of a group, or an answer to one. */
  heard(type: number, index: number, nonceHigh: number, nonceLow: number, vtepIndex: number): void {
    const probeType = type === EVENT_GROUP_PROBE ? GROUP_PROBE : type === EVENT_GROUP_ANSWER ? GROUP_ANSWER : 0;
    if (probeType !== 0) this.#prober.heard(probeType, index, nonceHigh, nonceLow, vtepIndex);
  }

  /** Once no frame finds the network any more. */
  close(index: number): void {
    this.#refused.delete(index);
    const network = this.#networks.get(index);
    if (network === undefined) return;
    this.#networks.delete(index);
    this.#prober.close(index);
    this.#options.networks.setGroup(index, 0);
    for (const group of network.received) this.#groups.leave(group);
    this.#options.vteps.release(network.vtepIndex);
  }

  /** The sending sockets are others, or the link was away. */
  renew(): void {
    this.#prepareSenders(interfaceIndexOf(this.#options.interfaceName));
    this.#groups.rejoin();
    this.#prober.startAgain();
  }

  status(index: number): FloodStatus {
    const network = this.#networks.get(index);
    if (network === undefined) {
      const refused = this.#refused.get(index);
      return { via: 'replicate', ...(refused === undefined ? {} : { reason: refused }) };
    }
    const { group, flood, received } = network;
    const problem = received.map((one) => this.#groups.problem(one)).find((text) => text !== undefined);
    const decision = this.#prober.decision(index) ?? { via: flood === 'multicast' ? 'multicast' : 'replicate' };
    return {
      ...decision,
      group,
      ...(problem === undefined ? {} : { reason: `the group can't be received: ${problem}` }),
    };
  }

  /** Messages that the groups' sockets had no room for. */
  overflows(): number {
    return this.#groups.overflows();
  }

  /** Only once the workers have ended. */
  end(): Promise<void> {
    this.#prober.end();
    return this.#groups.close();
  }

  /** By a sending socket of the data plane: the same way, and the same source ports, as the networks' own datagrams. */
  send(vtepIndex: number, datagram: Uint8Array): void {
    const to = this.#options.vteps.get(vtepIndex);
    if (to === undefined) return;
    const address = parseIp(to.address);
    const family = address.length === 4 ? 4 : 6;
    const sockets = this.#options.workers[0]?.underlay.find((pool) => pool.family === family);
    const fd = sockets?.txFds[0];
    // A datagram that is lost here is one that was not answered.
    if (fd !== undefined) sendDatagram(fd, datagram, address, to.port);
  }

  #prepareSenders(interfaceIndex: number): void {
    if (interfaceIndex === 0) return;
    const { workers, hops, logger } = this.#options;
    try {
      for (const { family, txFds } of workers.flatMap(({ underlay }) => underlay)) {
        for (const fd of txFds) setMulticastSending(fd, family, { interfaceIndex, hops });
      }
    } catch (error) {
      const text = `the underlay's sockets can't send multicast by ${this.#options.interfaceName}: ${(error as Error).message}`;
      logger.error({ event: 'multicast.send-failed', err: error }, text);
    }
  }
}
