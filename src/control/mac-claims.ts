/**
 * Who has a MAC, and an address, on one network, if several say that they do. Pure; main thread.
 *
 * A container that moves is published by its new host before the old one has let go of it, or after the old one died
 * without a word. `since` is when the endpoint was attached, so an old host that publishes its list again wins nothing
 * (claims.ts).
 *
 * A MAC that is attached here is local whatever others say: the bridge delivers to it before any table is asked, and
 * frames from the tunnel must reach the same container. Such a conflict is told, once for each source. An address
 * follows the same rule: whoever asks for it on this host's bridge hears the container here.
 *
 * A MAC has its entry before an address names it, and keeps it until none does.
 */
import { type Claim, Claims, LOCAL_SOURCE, type Winner } from './claims.js';

export { LOCAL_SOURCE } from './claims.js';

export interface MacClaim {
  readonly mac: string;
  /** When the endpoint was attached, ms since 1970; 0: not known. */
  readonly since: number;
  /** The endpoint's, in canonical text and without prefix length. */
  readonly addresses?: readonly string[];
  /** Its group policy id; of this host's own. */
  readonly group?: number;
}

export interface MacWinner {
  readonly source: string;
  readonly vtepIndex: number;
}

export interface AddressWinner extends MacWinner {
  readonly mac: string;
}

export interface MacClaimsListener {
  /** The MAC is now the winner's; undefined: nobody's. Called only if the entry has to change. */
  won(mac: string, winner: MacWinner | undefined): void;
  /** `source` claims a MAC that is attached here. Once, until one of the two lets go. */
  conflict(mac: string, source: string): void;
  /** As won(). */
  addressWon?(address: string, winner: AddressWinner | undefined): void;
}

interface AddressValue {
  readonly mac: string;
  readonly vtepIndex: number;
}

export class MacClaims {
  private readonly macs: Claims<number>;
  private readonly byAddress: Claims<AddressValue>;
  private readonly bySource = new Map<string, readonly MacClaim[]>();

  constructor(listener: MacClaimsListener) {
    this.macs = new Claims({
      isSame: (one, other) => one === other,
      won: (mac, winner) => listener.won(mac, winner && { source: winner.source, vtepIndex: winner.value }),
      conflict: (mac, source) => listener.conflict(mac, source),
    });
    this.byAddress = new Claims({
      isSame: (one, other) => one.mac === other.mac && one.vtepIndex === other.vtepIndex,
      won: (address, winner) => listener.addressWon?.(address, winner && toAddressWinner(winner)),
    });
  }

  /** All addresses that somebody claims. */
  addresses(): Iterable<string> {
    return this.byAddress.keys();
  }

  /** @param address canonical text */
  addressWinner(address: string): AddressWinner | undefined {
    const winner = this.byAddress.winner(address);
    return winner && toAddressWinner(winner);
  }

  /** The addresses that other hosts have won with this MAC. */
  remoteAddressesOf(mac: string): string[] {
    return [...this.bySource].flatMap(([source, claims]) => {
      const addresses = claims.find((claim) => claim.mac === mac)?.addresses ?? [];
      if (source === LOCAL_SOURCE) return [];
      return addresses.filter((address) => this.addressWinner(address)?.source === source);
    });
  }

  /** `source` claims exactly these from now on. What it takes comes before what it lets go. */
  replace(source: string, vtepIndex: number, claims: readonly MacClaim[]): void {
    const macs = new Map<string, Claim<number>>();
    const addresses = new Map<string, Claim<AddressValue>>();
    for (const { mac, since, addresses: own = [] } of claims) {
      macs.set(mac, { since, value: vtepIndex });
      for (const address of own) {
        // Of two endpoints of one source the newer has it.
        if ((addresses.get(address)?.since ?? 0) <= since) addresses.set(address, { since, value: { mac, vtepIndex } });
      }
    }
    if (claims.length === 0) this.bySource.delete(source);
    else this.bySource.set(source, claims);
    this.macs.take(source, macs);
    this.byAddress.take(source, addresses);
    this.byAddress.keep(source, addresses);
    this.macs.keep(source, macs);
  }
}

function toAddressWinner({ source, value }: Winner<AddressValue>): AddressWinner {
  return { source, ...value };
}
