/**
 * Who has a MAC on one network, if several say that they do. Pure; main thread.
 *
 *     claim = source, VTEP, since        the winner: local ▸ the newest `since` ▸ the greater source name
 *
 * A container that moves is published by its new host before the old one has let go of it, or after the old one died
 * without a word. `since` is when the endpoint was attached, so an old host that publishes its list again wins nothing.
 * When the winner lets go, the newest of those left has it: a claim is in force for as long as it is published.
 *
 * A MAC that is attached here is local whatever others say: the bridge delivers to it before any table is asked, and
 * frames from the tunnel must reach the same container. Such a conflict is told, once for each source.
 */
export interface MacClaim {
  readonly mac: string;
  /** When the endpoint was attached, ms since 1970; 0: not known. */
  readonly since: number;
}

export const LOCAL_SOURCE = 'local';

interface Claim {
  readonly vtepIndex: number;
  readonly since: number;
}

export interface MacWinner extends Claim {
  readonly source: string;
}

export interface MacClaimsListener {
  /** The MAC is now the winner's; undefined: nobody's. Called only if the entry has to change. */
  won(mac: string, winner: MacWinner | undefined): void;
  /** `source` claims a MAC that is attached here. Once, until one of the two lets go. */
  conflict(mac: string, source: string): void;
}

export class MacClaims {
  private readonly listener: MacClaimsListener;
  private readonly byMac = new Map<string, Map<string, Claim>>();
  private readonly bySource = new Map<string, ReadonlySet<string>>();

  constructor(listener: MacClaimsListener) {
    this.listener = listener;
  }

  /** `source` claims exactly these from now on. What it takes comes before what it lets go. */
  replace(source: string, vtepIndex: number, claims: readonly MacClaim[]): void {
    const before = this.bySource.get(source);
    const after = new Set<string>();
    for (const { mac, since } of claims) {
      after.add(mac);
      this.add(mac, source, { vtepIndex, since });
    }
    if (after.size > 0) this.bySource.set(source, after);
    else this.bySource.delete(source);
    for (const mac of before ?? []) if (!after.has(mac)) this.remove(mac, source);
  }

  private add(mac: string, source: string, claim: Claim): void {
    let claims = this.byMac.get(mac);
    if (claims === undefined) {
      claims = new Map();
      this.byMac.set(mac, claims);
    }
    const known = claims.get(source);
    if (known !== undefined && known.vtepIndex === claim.vtepIndex && known.since === claim.since) return;
    const before = winnerOf(claims);
    claims.set(source, claim);
    this.tell(mac, before, claims);
    if (known !== undefined || !claims.has(LOCAL_SOURCE)) return;
    if (source !== LOCAL_SOURCE) this.listener.conflict(mac, source);
    else for (const other of claims.keys()) if (other !== LOCAL_SOURCE) this.listener.conflict(mac, other);
  }

  private remove(mac: string, source: string): void {
    const claims = this.byMac.get(mac);
    if (claims === undefined) return;
    const before = winnerOf(claims);
    claims.delete(source);
    if (claims.size === 0) this.byMac.delete(mac);
    this.tell(mac, before, claims);
  }

  private tell(mac: string, before: MacWinner | undefined, claims: ReadonlyMap<string, Claim>): void {
    const winner = winnerOf(claims);
    const isSame = winner?.vtepIndex === before?.vtepIndex && isLocal(winner) === isLocal(before);
    if (!isSame) this.listener.won(mac, winner);
  }
}

function isLocal(winner: MacWinner | undefined): boolean {
  return winner?.source === LOCAL_SOURCE;
}

function winnerOf(claims: ReadonlyMap<string, Claim>): MacWinner | undefined {
  let winner: MacWinner | undefined;
  for (const [source, claim] of claims) {
    if (winner === undefined || beats(source, claim, winner)) winner = { source, ...claim };
  }
  return winner;
}

function beats(source: string, claim: Claim, winner: MacWinner): boolean {
  if (isLocal(winner)) return false;
  if (source === LOCAL_SOURCE) return true;
  return claim.since === winner.since ? source > winner.source : claim.since > winner.since;
}
