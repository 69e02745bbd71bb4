/**
 * The CNI plugin's commands, by what the API can do. Control plane, main thread; docs/cni.md is for its users.
 *
 *     runtime ─ environment, stdin ─▶ vtep-cni (src/cni.ts) ─ POST /v1/cni ─▶ here ─▶ Host
 *
 * An attachment is an endpoint whose owner says whose it is (cni-call.ts); nothing else is remembered, so DEL and GC need
 * neither namespace nor prevResult, and a restart forgets nothing.
 */
import { cidrContains, parseCidr, parseIp } from '../../../wire/ip-address.js';
import { checkInput } from '../../api/check-input.js';
import { type Attach, attachSchema, type Endpoint, type HostOperations } from '../../api/schema.js';
import type { AttachmentFacts } from '../../endpoints/attachment-facts.js';
import { type ErrorCode, VtepError } from '../../errors.js';
import { bareAddress } from '../../ipam/address-span.js';
import { DOMAIN_DEFAULT } from '../../names/name-table.js';
import { namespaceIdentity } from '../../ports/namespace.js';
import {
  checkAttachment,
  checkCommand,
  checkNetns,
  checkVersion,
  type Environment,
  ownerOf,
  parseOwner,
  VERSIONS,
} from './cni-call.js';
import { differences } from './cni-check.js';
import { type CniConfig, checkConfig, checkName } from './cni-config.js';
import { CniError } from './cni-error.js';
import { append, type CniResult, inVersion, parsePrevResult } from './cni-result.js';
import { checkValidAttachments } from './valid-attachments.js';

export interface CniRequest {
  readonly environment: Environment;
  /** As it came on standard input, parsed. */
  readonly config: Readonly<Record<string, unknown>>;
}

export class CniPlugin {
  private readonly host: HostOperations;

  constructor(host: HostOperations) {
    this.host = host;
  }

  /** @returns what is to be printed; undefined: nothing. @throws CniError, VtepError */
  async run({ environment, config }: CniRequest): Promise<Record<string, unknown> | undefined> {
    const command = checkCommand(environment);
    if (command === 'VERSION') return { cniVersion: config.cniVersion, supportedVersions: [...VERSIONS] };
    const version = checkVersion(config.cniVersion, command);
    switch (command) {
      case 'ADD':
        return inVersion(await this.add(environment, config), version);
      case 'DEL':
        return this.delete(environment, config);
      case 'CHECK':
        return this.check(environment, config);
      case 'GC':
        return this.collectGarbage(config);
      case 'STATUS':
        return this.status(environment, config);
    }
  }

  private async add(environment: Environment, input: CniRequest['config']): Promise<CniResult> {
    const attachment = checkAttachment(environment);
    const netns = checkNetns(environment);
    const config = checkConfig(input, environment.CNI_ARGS, attachment.containerId);
    const before = input.prevResult === undefined ? undefined : parsePrevResult(input.prevResult);
    const owner = ownerOf(attachment, config.name);
    const wanted = checkInput(attachSchema, withoutUndefined(attachInput(config, netns, attachment.ifname, owner)));
    const endpoint = await this.attach(wanted, config);
    try {
      const added = await this.result(endpoint, config, netns);
      return before === undefined ? added : append(before, added);
    } catch (error) {
      await this.host.detachById(endpoint.id).catch(() => undefined);
      throw error;
    }
  }

  private async attach(wanted: Attach, { create }: CniConfig): Promise<Endpoint> {
    try {
      return await this.host.attach(wanted);
    } catch (error) {
      if (isError(error, 'VTEP_ERR_NETWORK_UNKNOWN') && create !== undefined) {
        // Another host may have made it at the same time.
        await this.host.createNetwork(create).catch(unless('VTEP_ERR_NETWORK_EXISTS'));
      } else if (!isError(error, 'VTEP_ERR_INTERFACE_EXISTS') || !(await this.dropStale(wanted.owner!))) {
        throw error;
      }
      return this.host.attach(wanted);
    }
  }

  /** The container has begun anew, and nobody said that its namespace of before was gone. @returns whether it was */
  private async dropStale(owner: string): Promise<boolean> {
    const there = (await this.host.localEndpoints()).find(({ local }) => local?.owner === owner);
    const path = there?.local?.sandbox.replace(/^netns:/, '');
    if (there === undefined || path === undefined || (await namespaceIdentity(path)) !== undefined) return false;
    await this.host.detachById(there.id).catch(unless('VTEP_ERR_ENDPOINT_UNKNOWN'));
    return true;
  }

  private async result(endpoint: Endpoint, config: CniConfig, sandbox: string): Promise<CniResult> {
    const { network, mac, addresses, local } = endpoint;
    const [facts, nameservers] = await Promise.all([this.host.attachment(endpoint.id), this.host.nameservers(network)]);
    if (facts?.container === undefined) {
      throw new CniError('unknownContainer', `the container of ${sandbox} ended while it was attached`, sandbox);
    }
    const { bridge, hostInterface, container } = facts;
    const onHost = [bridge, hostInterface].flatMap((link) => (link ? [{ name: link.name, mac: link.mac }] : []));
    const inside = { name: local!.containerInterface, mac, mtu: local!.mtuBytes, sandbox };
    return {
      interfaces: [...onHost, inside],
      ips: addresses.map((address) => {
        const gateway = gatewayOf(address, facts);
        return { address, ...(gateway === undefined ? {} : { gateway }), interface: onHost.length };
      }),
      routes: container.routes.map(({ dst, gateway }) => ({ dst, gw: gateway })),
      dns: withoutUndefined({
        ...config.dns,
        nameservers: config.dns.nameservers ?? nameservers,
        search: config.dns.search ?? (nameservers.length > 0 ? [`${network}.${DOMAIN_DEFAULT}`] : undefined),
      }),
    };
  }

  private async delete(environment: Environment, config: CniRequest['config']): Promise<undefined> {
    const endpoint = await this.ownedBy(ownerOf(checkAttachment(environment), checkName(config)));
    if (endpoint !== undefined) await this.detach(endpoint);
  }

  private async check(environment: Environment, config: CniRequest['config']): Promise<undefined> {
    const attachment = checkAttachment(environment);
    const netns = checkNetns(environment);
    const owner = ownerOf(attachment, checkName(config));
    const before = parsePrevResult(config.prevResult);
    const endpoint = await this.ownedBy(owner);
    const facts = endpoint && (await this.host.attachment(endpoint.id));
    const { containerId, ifname } = attachment;
    if (endpoint === undefined || facts === undefined) {
      const text = `container ${containerId} has no attachment "${ifname}" here`;
      if ((await namespaceIdentity(netns)) === undefined) throw new CniError('unknownContainer', text, containerId);
      throw new CniError('notAsAdded', text, containerId);
    }
    const found = differences(before, endpoint, facts);
    if (found.length > 0) throw new CniError('notAsAdded', found[0]!, found.join('; '));
  }

  /** Goes on after a failure. @throws CniError that names each */
  private async collectGarbage(config: CniRequest['config']): Promise<undefined> {
    const name = checkName(config);
    const valid = checkValidAttachments(config, name);
    const failures: string[] = [];
    for (const endpoint of await this.host.localEndpoints()) {
      const owner = endpoint.local?.owner;
      if (owner === undefined || parseOwner(owner)?.configName !== name || valid.has(owner)) continue;
      await this.detach(endpoint).catch((error: Error) => failures.push(`${owner}: ${error.message}`));
    }
    if (failures.length === 0) return;
    const text = `${failures.length} stale ${failures.length === 1 ? 'attachment' : 'attachments'} could not be removed`;
    throw new CniError('notAllRemoved', text, failures.join('; '));
  }

  /**
   * Whether an ADD would find what it needs. A registry that is away stops no ADD on a network that is open here (by
   * addresses held in advance), and is no reason to call off a whole node.
   */
  private async status(environment: Environment, input: CniRequest['config']): Promise<undefined> {
    const { network, create } = checkConfig(input, environment.CNI_ARGS, 'status');
    const status = await this.host.status();
    if (status.workers.length > 0 && status.workers.every(({ state }) => state !== 'running')) {
      throw new CniError('notAvailableLimited', 'no worker of vtepd forwards frames: its log says why');
    }
    if (!status.registry.connected) {
      if ((await this.host.localEndpoints()).some((endpoint) => endpoint.network === network)) return;
      const why = status.registry.error ?? 'it has not answered yet';
      throw new CniError('notAvailable', `the registry ${status.registry.url} does not answer: ${why}`);
    }
    if (create !== undefined || (await this.host.listNetworks()).some(({ name }) => name === network)) return;
    const hint = `make it with "vtep network create ${network}", or let the configuration say "create": true`;
    throw new CniError('notAvailable', `network "${network}" does not exist: ${hint}`, 'VTEP_ERR_NETWORK_UNKNOWN');
  }

  private async ownedBy(owner: string): Promise<Endpoint | undefined> {
    return (await this.host.localEndpoints()).find(({ local }) => local?.owner === owner);
  }

  /** That it went by itself meanwhile is as good. */
  private async detach({ id }: Endpoint): Promise<void> {
    await this.host.detachById(id).catch(unless('VTEP_ERR_ENDPOINT_UNKNOWN'));
  }
}

function attachInput(config: CniConfig, netns: string, ifname: string, owner: string): Record<string, unknown> {
  const { network, ips, mac, endpointName: name, defaultRoute, group, publish } = config;
  return { network, netns, interface: ifname, owner, name, ips, mac, defaultRoute, group, publish };
}

function gatewayOf(address: string, { gateways }: AttachmentFacts): string | undefined {
  return gateways.find(({ subnet }) => cidrContains(parseCidr(subnet), parseIp(bareAddress(address))))?.address;
}

function withoutUndefined<T extends Record<string, unknown>>(fields: T): T {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T;
}

function isError(error: unknown, code: ErrorCode): boolean {
  return error instanceof VtepError && error.code === code;
}

function unless(code: ErrorCode): (error: unknown) => void {
  return (error) => {
    if (!isError(error, code)) throw error;
  };
}
