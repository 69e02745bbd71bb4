/**
 * The networks that have an endpoint on this host, each with its TAP, its bridge and its place in the data plane.
 *
 *     open    data plane makes the TAP ─▶ bridge ─▶ reconciler follows the network's keys
 *     close   reconciler stops ─▶ data plane lets go of the TAP ─▶ bridge and TAP go ─▶ local copy forgets
 *
 * Control plane, main thread; the caller serialises the calls for one network.
 */
import type { IpFamily } from '../../wire/ip-address.js';
import type { NetworkDetail } from '../api/schema.js';
import { VtepError } from '../errors.js';
import type { Forwarding } from '../forwarding.js';
import { bridgeAddresses } from '../gateway/address-plan.js';
import type { GatewayManager } from '../gateway/gateway-manager.js';
import { overlayMtuBytes } from '../overlay-mtu.js';
import { ensureBridge, removeBridge } from '../ports/bridge.js';
import type { Iproute, Link } from '../ports/iproute.js';
import { bridgeName, tapName } from '../ports/names.js';
import type { Reconciler } from '../reconcile/reconciler.js';
import { type NetworkValue, networkValueSchema } from '../registry/schema.js';
import type { LocalState } from '../state/local-state.js';

export class LocalNetworks {
  private readonly options: {
    readonly iproute: Iproute;
    readonly forwarding: Forwarding;
    readonly reconciler: Reconciler;
    readonly state: LocalState;
    readonly gateway: GatewayManager;
    /** At the start. */
    readonly underlayMtuBytes: number;
    /** That this host has an underlay address of. */
    readonly families: readonly IpFamily[];
    /** The network's bridge stands. */
    readonly onOpened?: (network: NetworkValue) => void;
    /** The network's bridge goes. */
    readonly onClosed?: (name: string) => Promise<void>;
  };
  private readonly networks = new Map<string, NetworkValue>();
  /** Of the interface, or less by the routes to the other VTEPs. */
  underlayMtuBytes: number;

  constructor(options: LocalNetworks['options']) {
    this.options = options;
    this.underlayMtuBytes = options.underlayMtuBytes;
  }

  get(name: string): NetworkValue | undefined {
    return this.networks.get(name);
  }

  all(): NetworkValue[] {
    return [...this.networks.values()];
  }

  /** Those of the local copy that can be read; whoever adopts the others learns why they cannot. */
  stored(): NetworkValue[] {
    const texts = [...this.options.state.networks().values()];
    return texts.flatMap((text) => networkValueSchema.safeParse(JSON.parse(text)).data ?? []);
  }

  mtuBytes(network: NetworkValue): number {
    return network.mtuBytes === 0 ? this.roomBytes() : network.mtuBytes;
  }

  /** The largest packet of an overlay that the underlay takes in one piece. */
  roomBytes(): number {
    return overlayMtuBytes(this.underlayMtuBytes, this.options.families);
  }

  /** What there is of it on this host. */
  facts(network: NetworkValue): NonNullable<NetworkDetail['local']> {
    const { vni } = network;
    const flood = this.options.forwarding.status().networks.find((open) => open.vni === vni)?.flood;
    const mtuBytes = this.mtuBytes(network);
    return { bridge: bridgeName(vni), tap: tapName(vni), mtuBytes, ...(flood === undefined ? {} : { flood }) };
  }

  /** Idempotent. @throws VtepError of the data plane or the kernel; nothing is left of a network that was not open. */
  async open(network: NetworkValue): Promise<void> {
    if (this.networks.has(network.name)) return;
    try {
      await this.adopt(network);
    } catch (error) {
      await this.close(network).catch(() => undefined);
      throw error;
    }
  }

  /** As open, for a network that has containers on it: a failure leaves what there is, and it can be tried again. */
  async adopt(network: NetworkValue): Promise<void> {
    if (this.networks.has(network.name)) return;
    // First: whatever a start finds of a network without endpoints it removes.
    await this.options.state.putNetwork(network.name, JSON.stringify(network));
    this.openForwarding(network);
    // What others bring needs no bridge: frames may come before the last port stands.
    this.options.reconciler.openNetwork(network.name, network.vni);
    await this.ensurePorts(network);
    await this.options.gateway.open(network);
    this.networks.set(network.name, network);
    this.options.onOpened?.(network);
  }

  async close(network: NetworkValue): Promise<void> {
    this.networks.delete(network.name);
    await this.options.reconciler.closeNetwork(network.name);
    await this.options.onClosed?.(network.name);
    await this.options.forwarding.closeNetwork(network.vni);
    await removeBridge(this.options.iproute, network.vni);
    await this.options.gateway.closeNetwork(network.name);
    await this.options.state.removeNetwork(network.name);
  }

  /** What `links` lacks for the network to work here; undefined: nothing. */
  lacks(network: NetworkValue, links: ReadonlyMap<string, Link>): 'tap' | 'bridge' | undefined {
    const tap = links.get(tapName(network.vni));
    if (tap === undefined) return 'tap';
    const bridge = links.get(bridgeName(network.vni));
    if (bridge === undefined || !bridge.flags.includes('UP')) return 'bridge';
    return tap.master === bridge.ifname && tap.flags.includes('UP') ? undefined : 'bridge';
  }

  /** Makes again what was removed by hand; the data plane takes a new TAP in the place of one that is gone. */
  async rebuild(network: NetworkValue): Promise<void> {
    this.openForwarding(network);
    await this.ensurePorts(network);
  }

  /** TAP, bridge and the data plane's table get the network's MTU: from the table outwards if it grows, else towards it. */
  async applyMtu(network: NetworkValue): Promise<void> {
    const before = (await this.options.iproute.link(bridgeName(network.vni)))?.mtu ?? 0;
    if (this.mtuBytes(network) > before) this.openForwarding(network);
    await this.ensurePorts(network);
    this.openForwarding(network);
  }

  private openForwarding(network: NetworkValue): void {
    this.options.forwarding.openNetwork({
      name: network.name,
      vni: network.vni,
      tapName: tapName(network.vni),
      mtuBytes: this.mtuBytes(network),
      learning: network.learning,
      flood: network.flood,
      group: network.group,
      snooping: network.snooping,
      suppression: network.arpSuppression,
      gateways: bridgeAddresses(network),
      learntMacsMax: network.learntMacsMax,
      stormLimit: network.stormLimit,
      groupPolicy: network.groupPolicy,
      allowedGroups: network.allowedGroups,
      tolerant: network.reservedBits === 'tolerant',
    });
  }

  private async ensurePorts(network: NetworkValue): Promise<void> {
    const mtuBytes = this.mtuBytes(network);
    if (mtuBytes < 576) {
      throw new VtepError(
        'VTEP_ERR_UNDERLAY',
        `the underlay's MTU of ${this.underlayMtuBytes} leaves ${mtuBytes} bytes for network "${network.name}": 576 are needed`,
      );
    }
    await ensureBridge(this.options.iproute, { vni: network.vni, network: network.name, mtuBytes });
  }
}
