/**
 * Follows the address of the underlay's interface, for as long as the daemon runs. Control plane, main thread.
 *
 *     ip monitor address ─▶ interface lost the address that we use? ─▶ its first global one ─▶ Host.moveUnderlay
 *
 * Only where the underlay was given by interface alone: who gave an address meant that one. An interface without any
 * address is waited for (a lease that is being renewed); more addresses beside ours change nothing.
 */
import http from 'node:http';
import https from 'node:https';
import type { Logger } from 'pino';
import { Iproute } from './ports/iproute.js';
import { LinkMonitor } from './ports/link-monitor.js';
import { chooseUnderlay, type InterfaceFacts, readInterfaces } from './underlay.js';

const RETRY_MS = 1000;

export interface UnderlayMonitorOptions {
  /** The interface's name, as given. */
  readonly underlay: string;
  /** What is used now. */
  readonly ip: string;
  readonly logger: Logger;
  /** @throws if the new address cannot be used yet: it is tried again. */
  readonly onMoved: (ip: string) => void;
}

export class UnderlayMonitor {
  private readonly options: UnderlayMonitorOptions;
  private readonly monitor: LinkMonitor;
  private ip: string;
  private looking: Promise<void> = Promise.resolve();
  private retry: NodeJS.Timeout | undefined;

  constructor(options: UnderlayMonitorOptions) {
    this.options = options;
    this.ip = options.ip;
    this.monitor = new LinkMonitor(new Iproute(), () => this.trigger(), ['address']);
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
    const { underlay, logger, onMoved } = this.options;
    let ip: string | undefined;
    try {
      ip = movedTo(await readInterfaces(), underlay, this.ip);
      if (ip === undefined) return;
      onMoved(ip);
    } catch (error) {
      logger.error(
        { event: 'underlay.move-failed', err: error, from: this.ip, to: ip },
        `the underlay could not be moved from ${this.ip}, it is tried again: ${(error as Error).message}`,
      );
      this.retry = setTimeout(() => this.trigger(), RETRY_MS);
      return;
    }
    logger.warn({ event: 'underlay.moved', from: this.ip, to: ip }, `the underlay has moved from ${this.ip} to ${ip}`);
    this.ip = ip;
    dropConnections();
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

/** To the registry, from the address that is gone: nothing comes back on them, and their ends would be waited for. */
function dropConnections(): void {
  http.globalAgent.destroy();
  https.globalAgent.destroy();
}
