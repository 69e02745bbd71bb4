/**
 * Whom this host asks for names: the servers of /etc/resolv.conf, or those that were given. Main thread.
 *
 * The file is looked at when a query needs it, at most once a second: a host without questions does nothing. Addresses
 * that vtepd's own servers listen on are left out, since asking them would go round in a circle.
 */
import { readFile, stat } from 'node:fs/promises';
import { isIP } from 'node:net';

export interface Resolver {
  readonly address: string;
  readonly port: number;
}

export interface ResolversOptions {
  /** Instead of the file's. */
  readonly given?: readonly Resolver[] | undefined;
  /** @default /etc/resolv.conf */
  readonly path?: string | undefined;
  readonly isOwnAddress: (address: string) => boolean;
}

const DNS_PORT = 53;
const LOOK_MS = 1000;
/** As resolv.conf(5): MAXNS. */
const RESOLVERS_MAX = 3;

export class Resolvers {
  private readonly options: ResolversOptions;
  private readonly path: string;
  private fromFile: readonly Resolver[] = [];
  private seen = '';
  private lookedMs = Number.NEGATIVE_INFINITY;
  private looking: Promise<void> | undefined;

  constructor(options: ResolversOptions) {
    this.options = options;
    this.path = options.path ?? '/etc/resolv.conf';
  }

  /** In the order to ask them; none if there is nobody to ask. Never rejects. */
  async list(): Promise<readonly Resolver[]> {
    const { given, isOwnAddress } = this.options;
    if (given === undefined) await this.look();
    return (given ?? this.fromFile).filter(({ address }) => !isOwnAddress(address)).slice(0, RESOLVERS_MAX);
  }

  private async look(): Promise<void> {
    if (performance.now() - this.lookedMs < LOOK_MS) return;
    this.looking ??= this.read().finally(() => {
      this.lookedMs = performance.now();
      this.looking = undefined;
    });
    await this.looking;
  }

  /** A file that can't be read at the moment, as while it is being replaced, leaves what was known. */
  private async read(): Promise<void> {
    try {
      const { mtimeMs, ino, size } = await stat(this.path);
      const seen = `${mtimeMs} ${ino} ${size}`;
      if (seen === this.seen) return;
      this.fromFile = parseResolvConf(await readFile(this.path, 'utf8'));
      this.seen = seen;
    } catch {
      this.seen = '';
    }
  }
}

/** The `nameserver` lines; without one it is this host itself, as in the C library. */
export function parseResolvConf(text: string): Resolver[] {
  const resolvers: Resolver[] = [];
  for (const line of text.split('\n')) {
    const address = /^\s*nameserver\s+(\S+)/.exec(line)?.[1];
    if (address !== undefined && isIP(address) !== 0) resolvers.push({ address, port: DNS_PORT });
  }
  return resolvers.length === 0 ? [{ address: '127.0.0.1', port: DNS_PORT }] : resolvers;
}
