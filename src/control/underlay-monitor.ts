/**
 * Follows the underlay's interface, for as long as the daemon runs. Control plane, main thread.
 *
 *     ip monitor link address ─┬▶ it has lost the address that we use? ─▶ its first global one ─▶ Host.moveUnderlay
 *                              └▶ it was down and is up again? ─▶ Host.returnToRegistry
 *
 * The address is followed only where the underlay was given by interface alone: who gave an address meant that one. An
 * interface without any address is waited for (a lease that is being renewed); more addresses beside ours change nothing.
 * Either way the connections to the registry are made anew: on the old ones nothing comes back, or only after the
 * retransmissions' long pauses.
 */
import type { Logger } from 'pino';
import { Iproute } from './ports/iproute.js';
import { LinkMonitor } from './ports/link-monitor.js';
import { dropRegistryConnections } from './registry/agents.js';
import { chooseUnderlay, type InterfaceFacts, readInterfaces } from './underlay.js';

const RETRY_MS = 1000;

export interface UnderlayMonitorOptions {
  readonly interface: string;
  /** What is used now. */
  readonly ip: string;
  readonly followsAddress: boolean;
  readonly logger: Logger;
  /** @throws if the new address cannot be used yet: it is tried again. */
  readonly onMoved: (ip: string) => void;
  readonly onReturned: () => void;
}

export class UnderlayMonitor {
  private readonly options: UnderlayMonitorOptions;
  private readonly monitor: LinkMonitor;
  private ip: string;
  private isUp = true;
  private looking: Promise<void> = Promise.resolve();
  private retry: NodeJS.Timeout | undefined;

  constructor(options: UnderlayMonitorOptions) {
    this.options = options;
    this.ip = options.ip;
    this.monitor = new LinkMonitor(new Iproute(), () => this.trigger());
    // What changed before it listened.
    this.trigger();
  }

  async close(): Promise<void> {
    await this.monitor.close();
    await this.looking;
    clearTimeout(this.retry);
  }

  private trigger(): void {
    clearTimeout(this.retry);
    this.looking = this.looking.then(() => this.look());
  }

  private async look(): Promise<void> {
    try {
      const interfaces = await readInterfaces();
      const isUp = isLinkUp(interfaces, this.options.interface);
      const hasReturned = isUp && !this.isUp;
      this.isUp = isUp;
      const hasMoved = this.move(interfaces);
      if (!hasMoved && !hasReturned) return;
    } catch (error) {
      this.options.logger.error(
        { event: 'underlay.move-failed', err: error, from: this.ip },
        `the underlay could not be moved from ${this.ip}, it is tried again: ${(error as Error).message}`,
      );
      this.retry = setTimeout(() => this.trigger(), RETRY_MS);
      return;
    }
    dropRegistryConnections();
    this.options.onReturned();
  }

  private move(interfaces: readonly InterfaceFacts[]): boolean {
    const { followsAddress, logger, onMoved } = this.options;
    const ip = followsAddress ? movedTo(interfaces, this.options.interface, this.ip) : undefined;
    if (ip === undefined) return false;
    onMoved(ip);
    logger.warn({ event: 'underlay.moved', from: this.ip, to: ip }, `the underlay has moved from ${this.ip} to ${ip}`);
    this.ip = ip;
    return true;
  }
}

/** @returns the address to use instead of `ip`; undefined: `ip` is still there, or there is no other yet. */
export function movedTo(interfaces: readonly InterfaceFacts[], underlay: string, ip: string): string | undefined {
  const chosen = (wanted: { underlay: string; advertise?: string }) => {
    try {
      return chooseUnderlay(interfaces, wanted).ip;
    } catch {
      return undefined;
    }
  };
  return chosen({ underlay, advertise: ip }) === undefined ? chosen({ underlay }) : undefined;
}

function isLinkUp(interfaces: readonly InterfaceFacts[], name: string): boolean {
  const flags = interfaces.find((facts) => facts.ifname === name)?.flags ?? [];
  return flags.includes('UP') && flags.includes('LOWER_UP');
}
