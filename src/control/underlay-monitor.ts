/**
 * Follows the underlay's interface, for as long as the daemon runs. Control plane, main thread.
 *
 *     ip monitor link address ─┬▶ it has lost an address that we use? ─▶ its first global one ─▶ Host.moveUnderlay
 *                              ├▶ it was down and is up again? ─▶ Host.returnToRegistry
 *                              └▶ its MTU, or a route's, is another? ─▶ Host.followMtu (underlay-mtu.ts)
 *
 * Of each family the address is followed for itself, and only if it was found by interface: who gave an address meant that
 * one. An interface without any of the family is waited for (a lease that is being renewed); more addresses beside ours
 * change nothing.
 * Either way the connections to the registry are made anew: on the old ones nothing comes back, or only after the
 * retransmissions' long pauses.
 */
import type { Logger } from 'pino';
import type { IpFamily } from '../wire/ip-address.js';
import { Iproute } from './ports/iproute.js';
import { LinkMonitor } from './ports/link-monitor.js';
import { dropRegistryConnections } from './registry/agents.js';
import { type InterfaceFacts, isNamed, readInterfaces, usableAddress } from './underlay.js';
import type { UnderlayMtu } from './underlay-mtu.js';
import { allIps, familyOf, type VtepIps } from './vtep-address.js';

const RETRY_MS = 1000;

export interface UnderlayMonitorOptions {
  readonly interface: string;
  /** What is used now. */
  readonly ip: string;
  readonly otherIp?: string | undefined;
  /** Of these families the address is followed. */
  readonly follows: readonly IpFamily[];
  readonly logger: Logger;
  /** @throws if the new address cannot be used yet: it is tried again. */
  readonly onMoved: (ips: VtepIps) => void;
  readonly onReturned: () => void;
  /** The MTU is looked at with the addresses. @default not */
  readonly mtu?: UnderlayMtu;
}

export class UnderlayMonitor {
  private readonly options: UnderlayMonitorOptions;
  private readonly monitor: LinkMonitor;
  private ips: VtepIps;
  private isUp = true;
  private looking: Promise<void> = Promise.resolve();
  private retry: NodeJS.Timeout | undefined;

  constructor(options: UnderlayMonitorOptions) {
    this.options = options;
    this.ips = { ip: options.ip, otherIp: options.otherIp };
    const objects = ['link', 'address', ...(options.mtu === undefined ? [] : ['route'])];
    this.monitor = new LinkMonitor(new Iproute(), () => this.trigger(), objects);
    options.mtu?.watchPeers(() => this.trigger());
    // What changed before it listened.
    this.trigger();
  }

  async close(): Promise<void> {
    this.options.mtu?.close();
    await this.monitor.close();
    await this.looking;
    clearTimeout(this.retry);
  }

  private trigger(): void {
    clearTimeout(this.retry);
    this.looking = this.looking.then(() => this.look());
  }

  private async look(): Promise<void> {
    let hasMoved = false;
    let hasReturned = false;
    try {
      const interfaces = await readInterfaces();
      const isUp = isLinkUp(interfaces, this.options.interface);
      hasReturned = isUp && !this.isUp;
      this.isUp = isUp;
      for (const ip of allIps(this.ips)) hasMoved = this.move(interfaces, ip) || hasMoved;
      await this.options.mtu?.look(interfaces.find((one) => isNamed(one, this.options.interface))?.mtu);
    } catch (error) {
      this.failed(error, allIps(this.ips).join(' and '));
    }
    if (!hasMoved && !hasReturned) return;
    dropRegistryConnections();
    this.options.onReturned();
  }

  /** One that cannot be moved yet does not hold up the other. */
  private move(interfaces: readonly InterfaceFacts[], from: string): boolean {
    const { follows, logger, onMoved } = this.options;
    const to = follows.includes(familyOf(from)) ? movedTo(interfaces, this.options.interface, from) : undefined;
    if (to === undefined) return false;
    const { ip, otherIp } = this.ips;
    const ips = ip === from ? { ip: to, otherIp } : { ip, otherIp: to };
    try {
      onMoved(ips);
    } catch (error) {
      this.failed(error, from);
      return false;
    }
    logger.warn({ event: 'underlay.moved', from, to }, `the underlay has moved from ${from} to ${to}`);
    this.ips = ips;
    return true;
  }

  private failed(error: unknown, from: string): void {
    this.options.logger.error(
      { event: 'underlay.move-failed', err: error, from },
      `the underlay could not be moved from ${from}, it is tried again: ${(error as Error).message}`,
    );
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.trigger(), RETRY_MS);
  }
}

/** @returns the address to use instead of `ip`; undefined: `ip` is still there, or there is no other of its family yet. */
export function movedTo(interfaces: readonly InterfaceFacts[], underlay: string, ip: string): string | undefined {
  const facts = interfaces.find((one) => isNamed(one, underlay));
  const isThere = facts?.addr_info.some(({ local, dadfailed }) => local === ip && dadfailed !== true);
  return facts === undefined || isThere ? undefined : usableAddress(facts, familyOf(ip));
}

function isLinkUp(interfaces: readonly InterfaceFacts[], name: string): boolean {
  const flags = interfaces.find((facts) => facts.ifname === name)?.flags ?? [];
  return flags.includes('UP') && flags.includes('LOWER_UP');
}
