/**
 * Releases the addresses that a dead node left. Control plane, main thread; every live host runs one.
 *
 *     look at nodes/ ─▶ a node has gone ─(it stays away for the hold time, and this host's turn has come)─▶
 *         nodes/<node> still absent AND the address key unchanged, in one transaction ─▶ the address is free
 *
 * Who lost sight of the registry counts from anew: what was away with it may have come back. Hosts take turns by rank, a
 * hash of both names, so that the first does the work and the others find it done. A node that returns has its key again
 * before it looks at its addresses (AddressPool.hold), so what it then still holds no reaper takes.
 */
import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import type { Registry } from '../registry/registry.js';
import {
  ADDRESSES_PREFIX,
  NODES_PREFIX,
  nodeKey,
  parseAddress,
  parseAddressKey,
  parseNodeKey,
} from '../registry/schema.js';

export const REAP_AFTER_SECONDS_DEFAULT = 60;
/** A host that is cut off may give its spares to containers for so long. */
export const SPARES_REAP_AFTER_MS = 24 * 3600 * 1000;

/** A look reads all of nodes/, and every host looks: the more there are, the less often each. */
const LOOK_MS = { min: 1000, max: 15_000, perNode: 60 };
/** Holders that went before this host began to look are found by a reading of all addresses: at first, and then so often. */
const READ_ADDRESSES_MS = 600_000;
/** One reading and a few hundred releases take less. */
const TURN_MS = 2000;
const TURN_MS_MAX = 30_000;

export interface Absence {
  readonly sinceMs: number;
  /** When its addresses are free, at the latest but for one look. */
  readonly freeMs: number;
}

export interface ReaperOptions {
  readonly registry: Registry;
  readonly node: string;
  readonly logger: Logger;
  /** @default 60 000 */
  readonly reapAfterMs?: number | undefined;
  /** After each look that succeeded. Never rejects. */
  readonly onLooked?: () => Promise<void>;
  /** @default Date.now */
  readonly now?: () => number;
}

export class Reaper {
  private readonly options: ReaperOptions;
  private readonly reapAfterMs: number;
  private readonly lookMs: number;
  private readonly now: () => number;
  private present: ReadonlySet<string> = new Set();
  /** Since when this host has seen, look by look, that the node is not there. */
  private readonly absent = new Map<string, number>();
  private readonly reaped = new Set<string>();
  private lookedMs: number | undefined;
  private readAddressesMs: number | undefined;
  private timer: NodeJS.Timeout | undefined;
  private looking: Promise<void> = Promise.resolve();
  private closed = false;

  constructor(options: ReaperOptions) {
    this.options = options;
    this.reapAfterMs = options.reapAfterMs ?? REAP_AFTER_SECONDS_DEFAULT * 1000;
    this.lookMs = Math.min(LOOK_MS.max, Math.max(LOOK_MS.min, this.reapAfterMs / 4));
    this.now = options.now ?? Date.now;
  }

  start(): void {
    if (this.closed) return;
    this.timer = setTimeout(
      () => {
        this.looking = this.look().finally(() => this.start());
      },
      this.betweenLooksMs * (0.75 + Math.random() / 2),
    );
    this.timer.unref();
  }

  async close(): Promise<void> {
    this.closed = true;
    clearTimeout(this.timer);
    await this.looking;
  }

  /** What this host knows of a node that is away; undefined: it is there, or was never missed. */
  absence(node: string): Absence | undefined {
    const sinceMs = this.absent.get(node);
    return sinceMs === undefined ? undefined : { sinceMs, freeMs: sinceMs + this.reapAfterMs };
  }

  private get betweenLooksMs(): number {
    return Math.max(this.lookMs, this.present.size * LOOK_MS.perNode);
  }

  /** One look; releases what is due. Never rejects. */
  async look(): Promise<void> {
    try {
      const nowMs = this.now();
      if (this.lookedMs !== undefined && nowMs - this.lookedMs > 3 * this.betweenLooksMs) this.forget();
      if (!(await this.readNodes(nowMs))) return;
      await this.readHolders(nowMs);
      this.lookedMs = nowMs;
      const due = [...this.absent].filter(
        ([node, since]) => !this.reaped.has(node) && nowMs >= this.dueMs(node, since),
      );
      if (due.length > 0) await this.release(new Set(due.map(([node]) => node)));
      await this.options.onLooked?.();
    } catch (error) {
      this.forget();
      this.options.logger.debug(
        { event: 'reaper.failed', err: error },
        `dead nodes could not be looked for: ${(error as Error).message}`,
      );
    }
  }

  /** @returns false if this host itself is not entered: it judges nobody. */
  private async readNodes(nowMs: number): Promise<boolean> {
    const nodes = new Set<string>();
    for (const key of (await this.options.registry.listKeys(NODES_PREFIX)).keys) {
      const node = parseNodeKey(key);
      if (node !== undefined) nodes.add(node);
    }
    if (!nodes.has(this.options.node)) {
      this.forget();
      return false;
    }
    for (const node of this.present) if (!nodes.has(node)) this.miss(node, nowMs);
    for (const node of nodes) {
      this.absent.delete(node);
      this.reaped.delete(node);
    }
    this.present = nodes;
    return true;
  }

  private async readHolders(nowMs: number): Promise<void> {
    if (this.readAddressesMs !== undefined && nowMs - this.readAddressesMs < READ_ADDRESSES_MS) return;
    for (const entry of (await this.options.registry.list(ADDRESSES_PREFIX)).entries) {
      const node = parseAddress(entry)?.node;
      if (node === undefined || this.present.has(node)) continue;
      this.miss(node, nowMs);
      this.reaped.delete(node);
    }
    this.readAddressesMs = nowMs;
  }

  private miss(node: string, nowMs: number): void {
    if (!this.absent.has(node)) this.absent.set(node, nowMs);
  }

  private dueMs(node: string, sinceMs: number): number {
    const mine = rankHash(this.options.node, node);
    const before = [...this.present].filter((other) => rankHash(other, node) < mine).length;
    return sinceMs + this.reapAfterMs + Math.min(TURN_MS_MAX, before * TURN_MS);
  }

  private async release(dead: ReadonlySet<string>): Promise<void> {
    const { registry, logger } = this.options;
    for (const entry of (await registry.list(ADDRESSES_PREFIX)).entries) {
      const value = parseAddress(entry);
      const node = value?.node;
      if (node === undefined || !dead.has(node)) continue;
      if (value?.spare === true && this.now() - (this.absent.get(node) ?? this.now()) < SPARES_REAP_AFTER_MS) continue;
      const released = await registry.transaction([
        { verb: 'check-index', key: nodeKey(node), casIndex: 0 },
        { verb: 'delete-cas', key: entry.key, casIndex: entry.modifyIndex },
      ]);
      // Not released: the node is back, or another host was first. The next look knows more.
      if (!released) continue;
      logger.info(
        { event: 'address.reaped', ...parseAddressKey(entry.key), node },
        `released an address of node "${node}", which is gone`,
      );
    }
    for (const node of dead) this.reaped.add(node);
  }

  private forget(): void {
    this.absent.clear();
    this.reaped.clear();
    this.present = new Set();
    this.lookedMs = undefined;
    this.readAddressesMs = undefined;
  }
}

function rankHash(host: string, dead: string): string {
  return createHash('sha1').update(`${host}\n${dead}`).digest('hex');
}
