/**
 * Who has a thing (a MAC, an address) of one network, if several say that they do. Pure; main thread.
 *
 *     claim = source, since, value        the winner: local ▸ the newest `since` ▸ the greater source name
 *
 * When the winner lets go, the newest of those left has it: a claim is in force for as long as it is published. What this
 * host has itself is local whatever others say.
 */
export const LOCAL_SOURCE = 'local';

export interface Claim<T> {
  /** ms since 1970; 0: not known. */
  readonly since: number;
  readonly value: T;
}

export interface Winner<T> extends Claim<T> {
  readonly source: string;
}

export interface ClaimsOptions<T> {
  /** Whether a winner with the one value is as good as one with the other: nothing is told then. */
  isSame(one: T, other: T): boolean;
  /** The key is now the winner's; undefined: nobody's. Called only if something has changed. */
  won(key: string, winner: Winner<T> | undefined): void;
  /** `source` claims what is local. Once, until one of the two lets go. */
  conflict?(key: string, source: string): void;
}

export class Claims<T> {
  private readonly options: ClaimsOptions<T>;
  private readonly byKey = new Map<string, Map<string, Claim<T>>>();
  private readonly bySource = new Map<string, Set<string>>();

  constructor(options: ClaimsOptions<T>) {
    this.options = options;
  }

  keys(): Iterable<string> {
    return this.byKey.keys();
  }

  winner(key: string): Winner<T> | undefined {
    const claims = this.byKey.get(key);
    return claims && winnerOf(claims);
  }

  /** `source` claims these, besides what it has claimed before. */
  take(source: string, claims: ReadonlyMap<string, Claim<T>>): void {
    if (claims.size === 0) return;
    const keys = this.bySource.get(source) ?? new Set();
    this.bySource.set(source, keys);
    for (const [key, claim] of claims) {
      keys.add(key);
      this.add(key, source, claim);
    }
  }

  /** `source` claims nothing but what is among these. */
  keep(source: string, claims: ReadonlyMap<string, unknown>): void {
    const keys = this.bySource.get(source);
    if (keys === undefined) return;
    for (const key of keys) {
      if (claims.has(key)) continue;
      keys.delete(key);
      this.remove(key, source);
    }
    if (keys.size === 0) this.bySource.delete(source);
  }

  private add(key: string, source: string, claim: Claim<T>): void {
    let claims = this.byKey.get(key);
    if (claims === undefined) {
      claims = new Map();
      this.byKey.set(key, claims);
    }
    const known = claims.get(source);
    if (known !== undefined && this.options.isSame(known.value, claim.value) && known.since === claim.since) return;
    const before = winnerOf(claims);
    claims.set(source, claim);
    this.tell(key, before, claims);
    if (known !== undefined || !claims.has(LOCAL_SOURCE)) return;
    if (source !== LOCAL_SOURCE) this.options.conflict?.(key, source);
    else for (const other of claims.keys()) if (other !== LOCAL_SOURCE) this.options.conflict?.(key, other);
  }

  private remove(key: string, source: string): void {
    const claims = this.byKey.get(key);
    if (claims === undefined) return;
    const before = winnerOf(claims);
    claims.delete(source);
    if (claims.size === 0) this.byKey.delete(key);
    this.tell(key, before, claims);
  }

  private tell(key: string, before: Winner<T> | undefined, claims: ReadonlyMap<string, Claim<T>>): void {
    const winner = winnerOf(claims);
    const isSame =
      winner === undefined || before === undefined
        ? winner === before
        : isLocal(winner) === isLocal(before) && this.options.isSame(winner.value, before.value);
    if (!isSame) this.options.won(key, winner);
  }
}

function isLocal(winner: { readonly source: string }): boolean {
  return winner.source === LOCAL_SOURCE;
}

function winnerOf<T>(claims: ReadonlyMap<string, Claim<T>>): Winner<T> | undefined {
  let winner: Winner<T> | undefined;
  for (const [source, claim] of claims) {
    if (winner === undefined || beats(source, claim, winner)) winner = { source, ...claim };
  }
  return winner;
}

function beats(source: string, claim: Claim<unknown>, winner: Winner<unknown>): boolean {
  if (isLocal(winner)) return false;
  if (source === LOCAL_SOURCE) return true;
  return claim.since === winner.since ? source > winner.source : claim.since > winner.since;
}
