/**
 * VTEPs of this host's networks that share no family of the underlay with it: said once in the log, and by status for as
 * long as it is so. What is between this host and all others goes on. Main thread; no I/O.
 */
import type { Logger } from 'pino';
import type { IpFamily } from '../../wire/ip-address.js';
import { allIps, familyName, familyOf, type VtepIps } from '../vtep-address.js';

export interface Unreachable {
  readonly network: string;
  /** forwarding-source.ts. */
  readonly source: string;
  readonly addresses: readonly string[];
  /** One line for people. */
  readonly reason: string;
}

export class UnreachableVteps {
  private readonly families: readonly IpFamily[];
  private readonly logger: Logger;
  private readonly known = new Map<string, Unreachable>();

  /** @param families of this host */
  constructor(families: readonly IpFamily[], logger: Logger) {
    this.families = families;
    this.logger = logger;
  }

  all(): Unreachable[] {
    return [...this.known.values()];
  }

  has(network: string, source: string): boolean {
    return this.known.has(keyOf(network, source));
  }

  note(network: string, source: string, vtep: VtepIps): void {
    const addresses = allIps(vtep);
    const key = keyOf(network, source);
    if (this.known.get(key)?.addresses.join() === addresses.join()) return;
    const theirs = addresses.map((ip) => `${familyName(familyOf(ip))} (${ip})`).join(' and ');
    const own = this.families.map(familyName).join(' and ');
    const hint = 'start one of the two with --underlay-family both';
    const reason = `${source.replace('/', ' ')} has only ${theirs} on the underlay, this host only ${own}: no frame of network "${network}" passes between them; ${hint}`;
    this.known.set(key, { network, source, addresses, reason });
    this.logger.warn({ event: 'remote.unreachable', network, source, addresses }, reason);
  }

  forget(network: string, source: string): void {
    this.known.delete(keyOf(network, source));
  }

  forgetNetwork(network: string): void {
    for (const [key, known] of this.known) if (known.network === network) this.known.delete(key);
  }
}

function keyOf(network: string, source: string): string {
  return `${network} ${source}`;
}
