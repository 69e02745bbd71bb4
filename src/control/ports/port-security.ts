/**
 * Port security on this host: the table `bridge vtep`, kept as it should be. Control plane, main thread.
 *
 *     secure     before a container's cable is made: the port's elements are in the kernel when this resolves
 *     release    after the cable is gone; the last port takes the table along
 *     restore    a start: the table of before is replaced by the same in one transaction, what it has counted goes on
 *     check      someone else changed the table: put back
 *
 * The table outlives vtepd. What the kernel or nft can't do is a problem that status() tells and the log says once; the
 * ports work without it then. Once it has worked in this process, a port that can't be secured is an error. Turns follow
 * one another.
 */
import type { Logger } from 'pino';
import { VtepError } from '../errors.js';
import type { Nftables } from '../gateway/nftables.js';
import { keysOf, type PortListing, parsePortListing } from './port-listing.js';
import { addPort, deletePort, NO_DROPS, type PortDrops, portRuleset, type SecuredPort } from './port-ruleset.js';

/** Someone who changes rules by hand is not heard of: they are looked at this often. */
const CHECK_MS = 30_000;

export interface PortSecurityStatus {
  /** How many ports are secured, or should be. */
  readonly ports: number;
  /** Why they are not. */
  readonly problem?: string;
  /** By host interface. */
  readonly dropsOfPorts: ReadonlyMap<string, PortDrops>;
  /** By network, with what was dropped at ports that are gone. */
  readonly dropsOfNetworks: ReadonlyMap<string, PortDrops>;
}

/** What of Nftables is used; the table is PORT_TABLE. */
export type PortTable = Pick<Nftables, 'apply' | 'listing' | 'remove'>;

export class PortSecurity {
  private readonly table: PortTable;
  private readonly logger: Logger;
  private readonly ports = new Map<string, SecuredPort>();
  private readonly gone = new Map<string, PortDrops>();
  /** The rules as the kernel lists what this process has applied; undefined: nothing is applied. */
  private rules: string | undefined;
  private hasWorked = false;
  private problem: string | undefined;
  private turn: Promise<unknown> = Promise.resolve();
  private timer: NodeJS.Timeout | undefined;

  constructor(table: PortTable, logger: Logger) {
    this.table = table;
    this.logger = logger;
  }

  /**
   * What the last run had. Never rejects. Looks at the kernel from now on, until close().
   * @param lost ports of endpoints of which the local copy knows nothing: they stay as the table has them
   */
  restore(ports: readonly SecuredPort[], lost: readonly Pick<SecuredPort, 'interface' | 'network'>[]): Promise<void> {
    this.timer = setInterval(() => void this.check(), CHECK_MS).unref();
    return this.inTurn(async () => {
      const listing = await this.listing().catch(() => undefined);
      for (const { interface: name, network } of lost) {
        const mac = listing?.macs.get(name);
        const addresses = listing?.addresses.get(name) ?? [];
        if (mac !== undefined) this.ports.set(name, { interface: name, network, mac, addresses });
      }
      for (const port of ports) this.ports.set(port.interface, port);
      if (listing !== undefined || this.ports.size > 0) await this.replace(listing).catch(() => undefined);
    });
  }

  /** The table stays. */
  async close(): Promise<void> {
    clearInterval(this.timer);
    await this.turn;
  }

  /** @throws VtepError VTEP_ERR_KERNEL; the port is as before then */
  secure(port: SecuredPort): Promise<void> {
    return this.inTurn(async () => {
      const before = this.ports.get(port.interface);
      this.ports.set(port.interface, port);
      if (this.rules !== undefined && before === undefined && (await this.tries(addPort(port)))) return;
      try {
        // Before the first port there is nothing to keep.
        await this.replace(this.ports.size === 1 ? undefined : await this.listing().catch(() => undefined));
      } catch (error) {
        if (!this.hasWorked) return;
        if (before === undefined) this.ports.delete(port.interface);
        else this.ports.set(port.interface, before);
        throw error;
      }
    });
  }

  /** Never rejects: what can't be removed goes with the next change. */
  release(interfaceName: string): Promise<void> {
    return this.inTurn(async () => {
      const port = this.ports.get(interfaceName);
      if (port === undefined) return;
      const listing = await this.listing().catch(() => undefined);
      this.ports.delete(interfaceName);
      const dropped = listing?.drops.get(interfaceName);
      if (dropped !== undefined) this.gone.set(port.network, sum(this.gone.get(port.network), dropped));
      if (this.ports.size > 0 && this.rules !== undefined && (await this.tries(deletePort(port)))) return;
      await this.replace(listing).catch(() => undefined);
    });
  }

  /** Puts the table back if it is not as it should be. Never rejects. */
  check(): Promise<void> {
    return this.inTurn(async () => {
      if (this.ports.size === 0) return;
      try {
        const listing = await this.listing();
        if (this.rules !== undefined && listing !== undefined && this.isAsWanted(listing)) return;
        if (this.rules !== undefined) {
          this.logger.warn(
            { event: 'ports.rules-changed' },
            'the rules of port security were changed or removed: put back',
          );
        }
        await this.replace(listing);
      } catch {
        // It is a problem, and told.
      }
    });
  }

  async status(): Promise<PortSecurityStatus> {
    const dropsOfPorts = new Map<string, PortDrops>();
    const dropsOfNetworks = new Map(this.gone);
    const listing = this.ports.size === 0 ? undefined : await this.listing().catch(() => undefined);
    for (const { interface: name, network } of this.ports.values()) {
      const dropped = listing?.drops.get(name) ?? NO_DROPS;
      dropsOfPorts.set(name, dropped);
      dropsOfNetworks.set(network, sum(dropsOfNetworks.get(network), dropped));
    }
    const problem = this.problem === undefined ? {} : { problem: this.problem };
    return { ports: this.ports.size, ...problem, dropsOfPorts, dropsOfNetworks };
  }

  private isAsWanted(listing: PortListing): boolean {
    const wanted = keysOf(this.ports.values());
    const same = listing.keys.size === wanted.size && [...wanted].every((key) => listing.keys.has(key));
    return same && listing.rules === this.rules;
  }

  private async listing(): Promise<PortListing | undefined> {
    const text = await this.table.listing('json');
    return text === undefined ? undefined : parsePortListing(text);
  }

  private async tries(text: string): Promise<boolean> {
    try {
      await this.table.apply(text);
      return true;
    } catch {
      return false;
    }
  }

  /** The whole table anew, with what it had counted. @throws VtepError VTEP_ERR_KERNEL; it is noted */
  private async replace(before: PortListing | undefined): Promise<void> {
    this.rules = undefined;
    try {
      if (this.ports.size === 0) await this.table.remove();
      else {
        await this.table.apply(portRuleset(this.ports.values(), before?.drops ?? new Map()));
        this.rules = (await this.listing())?.rules ?? '';
        this.hasWorked = true;
      }
      this.note(undefined);
    } catch (error) {
      // Without ports there is nothing to be wrong.
      this.note(this.ports.size === 0 ? undefined : (error as Error).message);
      throw error instanceof VtepError ? error : new VtepError('VTEP_ERR_KERNEL', (error as Error).message);
    }
  }

  private note(problem: string | undefined): void {
    if (problem !== undefined && problem !== this.problem) {
      const text = `port security: unsupported: containers may send from any MAC and address: ${problem}`;
      this.logger.warn({ event: 'ports.unsupported' }, text);
    }
    if (problem === undefined && this.problem !== undefined) {
      this.logger.info({ event: 'ports.supported' }, 'port security: on again');
    }
    this.problem = problem;
  }

  private inTurn(job: () => Promise<void>): Promise<void> {
    const turn = this.turn.then(job);
    this.turn = turn.catch(() => undefined);
    return turn;
  }
}

function sum(a: PortDrops = NO_DROPS, b: PortDrops): PortDrops {
  return { source_mac: a.source_mac + b.source_mac, source_address: a.source_address + b.source_address };
}
