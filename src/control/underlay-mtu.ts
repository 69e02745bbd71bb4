/**
 * The MTU of the underlay: the interface's, or less where the routes to the other VTEPs say so (`ip route ... mtu 1400`).
 * Control plane, main thread; underlay-monitor.ts asks whenever a link or a route has changed.
 *
 * The routes are asked for each VTEP that forwarding knows, for the entry of the routing table (fibmatch): what the kernel has
 * learnt about one path by ICMP is that path's alone. Without any VTEP the interface alone counts.
 */
import { execa } from 'execa';
import type { Logger } from 'pino';
import { z } from 'zod';

const routeSchema = z.array(
  z.object({ dev: z.string().optional(), metrics: z.array(z.object({ mtu: z.number().optional() })).optional() }),
);
/** New VTEPs may be behind other routes. */
const PEERS_MS = 10_000;

export interface UnderlayMtuOptions {
  readonly interface: string;
  readonly logger: Logger;
  /** The underlay addresses of the other VTEPs. */
  readonly peers: () => readonly string[];
  /** Called the first time, and when it is another one. Must not reject. */
  readonly onMtu: (mtuBytes: number) => Promise<void>;
  /** For tests. @default asks the kernel */
  readonly routesTo?: (peers: readonly string[]) => Promise<string>;
}

export class UnderlayMtu {
  private readonly options: UnderlayMtuOptions;
  private mtuBytes: number | undefined;
  private knownPeers = '';
  private timer: NodeJS.Timeout | undefined;

  constructor(options: UnderlayMtuOptions) {
    this.options = options;
  }

  /** @param onPeers when there are other VTEPs than at the last look */
  watchPeers(onPeers: () => void): void {
    this.timer = setInterval(() => {
      if (this.peerList() !== this.knownPeers) onPeers();
    }, PEERS_MS);
    this.timer.unref();
  }

  close(): void {
    clearInterval(this.timer);
  }

  /** @param interfaceMtuBytes undefined: the interface is not there */
  async look(interfaceMtuBytes: number | undefined): Promise<void> {
    if (interfaceMtuBytes === undefined) return;
    const { interface: name, logger, onMtu, routesTo = askRoutes } = this.options;
    const peers = this.options.peers();
    this.knownPeers = this.peerList();
    const routes = peers.length === 0 ? '' : await routesTo(peers);
    const mtuBytes = Math.min(interfaceMtuBytes, routeMtuBytes(routes, name));
    if (mtuBytes === this.mtuBytes) return;
    if (this.mtuBytes !== undefined) {
      const text = `the underlay's MTU is ${mtuBytes} instead of ${this.mtuBytes}`;
      logger.info({ event: 'underlay.mtu', mtuBytes, before: this.mtuBytes }, text);
    }
    this.mtuBytes = mtuBytes;
    await onMtu(mtuBytes);
  }

  private peerList(): string {
    return [...this.options.peers()].sort().join(' ');
  }
}

/** @param output of `ip -json -batch` with a `route get` each. @returns the least `mtu` of routes by the interface, or Infinity */
export function routeMtuBytes(output: string, name: string): number {
  let least = Number.POSITIVE_INFINITY;
  for (const line of output.split('\n')) {
    if (!line.startsWith('[')) continue;
    for (const { dev, metrics = [] } of routeSchema.safeParse(JSON.parse(line)).data ?? []) {
      if (dev === name) for (const { mtu } of metrics) least = Math.min(least, mtu ?? least);
    }
  }
  return least;
}

/** Peers without a route are left out: -force goes on, and the exit code says nothing. */
async function askRoutes(peers: readonly string[]): Promise<string> {
  const input = peers.map((ip) => `route get fibmatch ${ip}\n`).join('');
  const { stdout } = await execa('ip', ['-json', '-force', '-batch', '-'], { input, reject: false });
  // One JSON array after another, some without a line's end between.
  return stdout.replaceAll('][', ']\n[');
}
