/**
 * A host with the world behind it, for tests of the gateway: namespaces joined by a veth pair, the bridges of networks
 * on the host, containers as ports of them. No data plane. Test support.
 *
 *     container ── vtep-b<vni> (host: 192.0.2.1, 2001:db8::1) ── world (192.0.2.9, 2001:db8::9)
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { execa } from 'execa';
import { type Logger, pino } from 'pino';
import { vi } from 'vitest';
import { GatewayManager } from '../../../src/control/gateway/gateway-manager.js';
import type { Gateway, GatewayNetwork } from '../../../src/control/gateway/gateways-of.js';
import { ensureBridge } from '../../../src/control/ports/bridge.js';
import { Iproute } from '../../../src/control/ports/iproute.js';
import { resolveSandbox } from '../../../src/control/ports/namespace.js';
import { createVeth } from '../../../src/control/ports/veth.js';
import { inHost, ip, Namespaces } from '../namespaces.js';

export const HOST = { 4: '192.0.2.1', 6: '2001:db8::1' } as const;
export const WORLD = { 4: '192.0.2.9', 6: '2001:db8::9' } as const;
export const SILENT: Logger = pino({ level: 'silent' });
/** Answers each connection with the address that it came from. */
const ECHO_SOURCE = `SYSTEM:printf "$SOCAT_PEERADDR"`;

export class GatewaySite {
  readonly namespaces = new Namespaces();
  readonly iproute: Iproute;
  readonly host: string;
  readonly world: string;
  gateway: GatewayManager;
  readonly #servers: ChildProcess[] = [];
  #endpoints = 0;

  private constructor(host: string, world: string) {
    this.host = host;
    this.world = world;
    this.iproute = new Iproute(inHost(host));
    this.gateway = this.manager();
  }

  static async make(): Promise<GatewaySite> {
    const namespaces = new Namespaces();
    const [host, world] = [await namespaces.add(), await namespaces.add()];
    const site = new GatewaySite(host, world);
    Object.assign(site, { namespaces });
    await ip(host, 'link', 'add', 'out0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', world);
    for (const [name, dev, own] of [
      [host, 'out0', HOST],
      [world, 'eth0', WORLD],
    ] as const) {
      await ip(name, 'link', 'set', 'lo', 'up');
      await ip(name, 'address', 'add', `${own[4]}/24`, 'dev', dev);
      await ip(name, 'address', 'add', `${own[6]}/64`, 'dev', dev, 'nodad');
      await ip(name, 'link', 'set', dev, 'up');
    }
    return site;
  }

  /** Of another run of vtepd, or without nft. */
  manager(nftProgram?: string, servesDocker = false): GatewayManager {
    return new GatewayManager({
      iproute: this.iproute,
      logger: SILENT,
      tunnel: () => ({ ip: HOST[4], port: 4789 }),
      nftProgram,
      servesDocker,
    });
  }

  async open(network: GatewayNetwork): Promise<void> {
    await ensureBridge(this.iproute, { vni: network.vni, network: network.name, mtuBytes: 1450 });
    await this.gateway.open(network);
  }

  /** @returns the container's namespace */
  async attach(network: GatewayNetwork, addresses: readonly string[], hairpin = false): Promise<string> {
    const container = await this.namespaces.add();
    const endpointId = (++this.#endpoints).toString(16).padStart(8, '0').padEnd(32, '0');
    const gateways: readonly Gateway[] = network.internal ? [] : this.gateway.gateways(network.name);
    await createVeth(this.iproute, await resolveSandbox(this.iproute, { netns: container }), {
      ...{ endpointId, network: network.name, vni: network.vni, mtuBytes: 1450, containerInterface: 'eth0', hairpin },
      mac: `02:00:5e:10:00:${this.#endpoints.toString(16).padStart(2, '0')}`,
      addresses: addresses.filter((address) => !address.includes(':')),
      defaultGateways: gateways.filter(({ family }) => family === 4).map(({ address }) => address),
    });
    for (const address of addresses.filter((candidate) => candidate.includes(':'))) {
      await ip(container, 'address', 'add', address, 'dev', 'eth0', 'nodad');
    }
    const ipv6 = gateways.find(({ family }) => family === 6);
    const hasIpv6 = addresses.some((address) => address.includes(':'));
    if (ipv6 !== undefined && hasIpv6) await ip(container, '-6', 'route', 'add', 'default', 'via', ipv6.address);
    return container;
  }

  exec(namespace: string, ...command: string[]) {
    return execa('ip', ['netns', 'exec', namespace, ...command], { reject: false, timeout: 20_000, stdin: 'ignore' });
  }

  async pings(from: string, address: string, seconds = 5): Promise<boolean> {
    const { exitCode } = await this.exec(from, 'ping', '-n', '-c', '1', '-w', String(seconds), address);
    return exitCode === 0;
  }

  /** A server that tells each client its address. */
  async serve(namespace: string, port: number, family: 4 | 6 = 4): Promise<void> {
    const listen = `TCP${family}-LISTEN:${port},fork,reuseaddr${family === 6 ? ',ipv6only=1' : ''}`;
    const child = spawn('ip', ['netns', 'exec', namespace, 'socat', listen, ECHO_SOURCE], { stdio: 'ignore' });
    this.#servers.push(child);
    await vi.waitFor(async () => {
      const { stdout } = await this.exec(namespace, 'ss', `-Hnlt${family}`, `sport = :${port}`);
      if (stdout.trim() === '') throw new Error('not listening yet');
    }, 10_000);
  }

  /** @returns the address that the server saw, or undefined if no connection came about */
  async sourceSeen(from: string, address: string, port: number): Promise<string | undefined> {
    const target = address.includes(':') ? `TCP6:[${address}]:${port}` : `TCP4:${address}:${port}`;
    const { exitCode, stdout } = await this.exec(from, 'socat', '-u', `${target},connect-timeout=3`, '-');
    return exitCode === 0 ? shorten(stdout.trim()) : undefined;
  }

  async rules(): Promise<string> {
    return (await this.exec(this.host, 'nft', 'list', 'table', 'inet', 'vtep')).stdout;
  }

  async cleanup(): Promise<void> {
    await this.gateway.close();
    for (const server of this.#servers.filter(({ exitCode }) => exitCode === null)) {
      server.kill('SIGKILL');
      await once(server, 'exit');
    }
    await this.namespaces.removeAll();
  }
}

/** socat writes IPv6 in brackets and in full. */
function shorten(address: string): string {
  const bare = address.replace(/^\[|\]$/g, '');
  return bare.includes(':') ? new URL(`http://[${bare}]`).hostname.slice(1, -1) : bare;
}
