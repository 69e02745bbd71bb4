/**
 * Where an endpoint's interface comes to stand, as the attach needs it: in a namespace that is there, or on the host until
 * the container's engine has moved it. Control plane.
 */
import type { Attach } from '../api/schema.js';
import { chooseDefaultGateways } from '../gateway/default-route.js';
import type { Gateway, GatewayNetwork } from '../gateway/gateways-of.js';
import type { Iproute } from '../ports/iproute.js';
import { awaitedInterfaceName } from '../ports/names.js';
import type { Sandbox } from '../ports/namespace.js';
import { chooseInterface, createAwaitedVeth, createVeth, type EndpointPort } from '../ports/veth.js';
import type { LocalEndpoint } from '../state/local-state.js';
import { announceTwice } from './announcement.js';

/** An endpoint whose container's end is still on the host has a namespace of this kind. */
const AWAITED_PREFIX = 'awaited:';

export interface ContainerSide {
  /** For messages, and for finding it again: `netns:NAME` or `pid:N`. */
  readonly label: string;
  readonly identity: string;
  /** A name for an endpoint that was given none. */
  readonly defaultName: string;
  readonly containerId?: string | undefined;
  chooseInterface(endpointId: string, wanted: string | undefined): Promise<string>;
  defaultGateways(options: {
    readonly wanted: Attach['defaultRoute'];
    readonly network: GatewayNetwork;
    readonly gateways: readonly Gateway[];
    readonly addresses: readonly string[];
  }): Promise<string[]>;
  /** @throws VtepError VTEP_ERR_KERNEL; nothing of the veth is left then */
  connect(port: EndpointPort): Promise<void>;
  /** Not waited for. @param isHere asked before each */
  announce(endpoint: LocalEndpoint, isHere: () => boolean): void;
}

export function inNamespace(iproute: Iproute, sandbox: Sandbox): ContainerSide {
  return {
    label: sandbox.label,
    identity: sandbox.identity,
    defaultName: sandbox.defaultName,
    containerId: sandbox.containerId,
    chooseInterface: (_, wanted) => chooseInterface(iproute, sandbox, wanted),
    defaultGateways: (options) => chooseDefaultGateways(iproute, sandbox, options),
    connect: (port) => createVeth(iproute, sandbox, port),
    announce: (endpoint, isHere) => announceTwice(iproute, sandbox.path, endpoint, isHere),
  };
}

/**
 * @param owner whoever moves it: routes and addresses are set there; it is announced when it has arrived (awaited-ends.ts)
 * @param label where it will be, as far as that is known
 */
export function onTheHost(iproute: Iproute, owner: string, label: string): ContainerSide {
  return {
    label,
    identity: AWAITED_PREFIX + owner,
    defaultName: owner.replace(/[^a-zA-Z0-9_.-]/g, '-').slice(0, 63),
    chooseInterface: async (endpointId) => awaitedInterfaceName(endpointId),
    defaultGateways: async () => [],
    connect: (port) => createAwaitedVeth(iproute, port),
    announce: () => undefined,
  };
}

export function isAwaited({ sandboxIdentity }: Pick<LocalEndpoint, 'sandboxIdentity'>): boolean {
  return sandboxIdentity.startsWith(AWAITED_PREFIX);
}

export function awaitedIdentity(owner: string): string {
  return AWAITED_PREFIX + owner;
}
