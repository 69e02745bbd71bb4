/**
 * The multicast groups of the underlay that this host is a member of. Main thread.
 *
 *     network ─┐
 *     network ─┴▶ group: one socket, bound to the group's address and joined on the underlay's interface ─▶ one worker's epoll set
 *
 * A group has one socket, so each datagram comes once however many workers there are, and the limit of memberships that a
 * socket may have (net.ipv4.igmp_max_memberships, 20) is never met. The socket's address keeps datagrams to other addresses
 * away, IP_MULTICAST_ALL those from other interfaces. Groups are spread over the workers.
 *
 * The interface may go and come back under another index: it is looked up every two seconds, and where it has another
 * index, or a join has failed, the group is joined (again). When the underlay moves or its link returns, every group is left
 * and joined, so that the switches hear of it at once.
 */
import type { Logger } from 'pino';
import { underlayToken } from '../shared/worker-input.js';
import { interfaceIndexOf, joinGroup, leaveGroup, receiveOwnGroupsOnly } from '../sys/multicast.js';
import { addToEpoll, removeFromEpoll } from '../sys/poll.js';
import { enableUdpGro } from '../sys/udp-offloads.js';
import { closeUdpSocket, openUdpSocket, overflowCount } from '../sys/udp-socket.js';
import { parseIp } from '../wire/ip-address.js';

const SOCKET_BUFFER_BYTES = 8 * 1024 * 1024;
const UNSENT_BUFFER_BYTES = 2048;
const LOOK_MS = 2000;
/** No interface has it. */
const NOT_JOINED = 0;

interface Joined {
  readonly group: string;
  readonly bytes: Uint8Array;
  /** Of each worker. */
  readonly workerIndex: number;
  networks: number;
  /** Undefined: it could not be opened yet. */
  fd: number | undefined;
  /** Where it is joined. */
  interfaceIndex: number;
  problem: string | undefined;
}

export interface MulticastGroupsOptions {
  /** The underlay's. */
  readonly interfaceName: string;
  readonly port: number;
  /** UDP_GRO. */
  readonly gro: boolean;
  /** Of each worker. */
  readonly epollFds: readonly number[];
  /** Resolves when no worker holds a descriptor that was taken out of its set before. */
  readonly settle: () => Promise<void>;
  /** The interface has another index than before: the sending sockets must hear of it. */
  readonly onInterface: (interfaceIndex: number) => void;
  readonly logger: Logger;
}

export class MulticastGroups {
  readonly #options: MulticastGroupsOptions;
  readonly #groups = new Map<string, Joined>();
  readonly #timer: NodeJS.Timeout;
  readonly #closing = new Set<Promise<void>>();
  #interfaceIndex = NOT_JOINED;
  /** Messages that sockets which are closed by now had no room for. */
  #overflows = 0;

  constructor(options: MulticastGroupsOptions) {
    this.#options = options;
    this.#interfaceIndex = interfaceIndexOf(options.interfaceName);
    this.#timer = setInterval(() => this.look(), LOOK_MS);
    this.#timer.unref();
  }

  /** One network more receives the group. What fails is logged and tried again. */
  join(group: string): void {
    const known = this.#groups.get(group);
    if (known !== undefined) {
      known.networks++;
      return;
    }
    const bytes = Uint8Array.from(parseIp(group));
    const joined: Joined = {
      ...{ group, bytes, workerIndex: this.#idlestWorker(), networks: 1 },
      ...{ fd: undefined, interfaceIndex: NOT_JOINED, problem: undefined },
    };
    this.#groups.set(group, joined);
    this.#tryJoin(joined);
  }

  /** One network less; the last one takes the membership along. */
  leave(group: string): void {
    const joined = this.#groups.get(group);
    if (joined === undefined || --joined.networks > 0) return;
    this.#groups.delete(group);
    const { fd, workerIndex } = joined;
    if (fd === undefined) return;
    this.#drop(joined);
    removeFromEpoll(this.#options.epollFds[workerIndex] as number, fd);
    const closing = this.#options.settle().then(() => {
      this.#overflows += overflowCount(fd);
      closeUdpSocket(fd);
      this.#closing.delete(closing);
    });
    this.#closing.add(closing);
  }

  /** What keeps the group from being received; undefined: nothing. */
  problem(group: string): string | undefined {
    return this.#groups.get(group)?.problem;
  }

  /** The underlay has another address, or its link was away: others learn anew that this host is a member. */
  rejoin(): void {
    this.#setInterface(interfaceIndexOf(this.#options.interfaceName));
    for (const joined of this.#groups.values()) {
      this.#drop(joined);
      this.#tryJoin(joined);
    }
  }

  overflows(): number {
    let sum = this.#overflows;
    for (const { fd } of this.#groups.values()) if (fd !== undefined) sum += overflowCount(fd);
    return sum;
  }

  /** Only once the workers have ended. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#closing);
    for (const { fd } of this.#groups.values()) if (fd !== undefined) closeUdpSocket(fd);
    this.#groups.clear();
  }

  /** Joins where the interface has another index, or a join has failed. */
  look(): void {
    this.#setInterface(interfaceIndexOf(this.#options.interfaceName));
    for (const joined of this.#groups.values()) {
      if (joined.interfaceIndex === this.#interfaceIndex && joined.problem === undefined) continue;
      this.#drop(joined);
      this.#tryJoin(joined);
    }
  }

  #setInterface(index: number): void {
    if (index === this.#interfaceIndex) return;
    this.#interfaceIndex = index;
    if (index !== NOT_JOINED) this.#options.onInterface(index);
  }

  #idlestWorker(): number {
    const counts = this.#options.epollFds.map(() => 0);
    for (const { workerIndex } of this.#groups.values()) counts[workerIndex] = (counts[workerIndex] as number) + 1;
    return counts.indexOf(Math.min(...counts));
  }

  #tryJoin(joined: Joined): void {
    const { interfaceName, logger } = this.#options;
    try {
      joined.fd ??= this.#open(joined);
      if (this.#interfaceIndex === NOT_JOINED) throw new Error(`there is no interface "${interfaceName}"`);
      joinGroup(joined.fd, joined.bytes, this.#interfaceIndex);
      joined.interfaceIndex = this.#interfaceIndex;
      joined.problem = undefined;
    } catch (error) {
      const { message } = error as Error;
      if (joined.problem !== message) {
        const text = `group ${joined.group} can't be received on ${interfaceName}, it is tried again: ${message}`;
        logger.error({ event: 'multicast.join-failed', group: joined.group, err: error }, text);
      }
      joined.problem = message;
    }
  }

  #open({ bytes, workerIndex }: Joined): number {
    const { port, gro, epollFds } = this.#options;
    const buffers = { sendBufferBytes: UNSENT_BUFFER_BYTES, receiveBufferBytes: SOCKET_BUFFER_BYTES };
    const fd = openUdpSocket({ address: bytes, port, reuseAddress: true, receiveTos: true, ...buffers });
    try {
      receiveOwnGroupsOnly(fd, bytes.length === 4 ? 4 : 6);
      if (gro) enableUdpGro(fd);
      addToEpoll(epollFds[workerIndex] as number, fd, underlayToken(fd));
    } catch (error) {
      closeUdpSocket(fd);
      throw error;
    }
    return fd;
  }

  #drop(joined: Joined): void {
    if (joined.fd === undefined || joined.interfaceIndex === NOT_JOINED) return;
    try {
      leaveGroup(joined.fd, joined.bytes, joined.interfaceIndex);
    } catch {
      // The interface has taken the membership along.
    }
    joined.interfaceIndex = NOT_JOINED;
  }
}
