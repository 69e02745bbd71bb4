/**
 * The hands of the simulated hosts: a real session each, and their keys, written in full transactions. What fills the registry
 * tells no journal of it; what changes afterwards does, as vtepd's writes do.
 */
import { withChange } from '../../src/control/registry/journal.js';
import type { RegistryEntry, RegistryOperation } from '../../src/control/registry/registry.js';
import { journalKey, parseEndpointsKey, parseNodeKey } from '../../src/control/registry/schema.js';
import type { UnixHttp } from './http.js';
import {
  addressOperation,
  endpointsOperation,
  networkOperations,
  nodeOperation,
  type Population,
  type SimulatedHost,
} from './population.js';

const KEY_PREFIX = 'vtep/v1/';
/** Consul's limit of a transaction. */
const OPERATIONS_MAX = 64;
const TRANSACTION_BYTES_MAX = 400 * 1024;
/** Longer than any run: no simulated host renews its session. */
const SESSION_TTL = '86400s';

export class SimulatedHosts {
  readonly #consul: UnixHttp;
  readonly #sessions = new Map<string, string>();

  /** @param consul with as many connections as may write at once */
  constructor(consul: UnixHttp) {
    this.#consul = consul;
  }

  sessionOf(host: SimulatedHost): string {
    const session = this.#sessions.get(host.name);
    if (session === undefined) throw new Error(`${host.name} has no session`);
    return session;
  }

  async openSession(host: SimulatedHost): Promise<void> {
    const session = { TTL: SESSION_TTL, Behavior: 'delete', LockDelay: '0s', Checks: [], NodeChecks: [] };
    const path = '/v1/session/create';
    const { ID } = await this.#consul.json<{ ID: string }>('PUT', path, { Name: `vtepd ${host.name}`, ...session });
    this.#sessions.set(host.name, ID);
  }

  /** As the end of its TTL does: all that the host holds goes. */
  async endSession(host: SimulatedHost): Promise<void> {
    await this.#consul.json('PUT', `/v1/session/destroy/${this.sessionOf(host)}`);
    this.#sessions.delete(host.name);
  }

  /** One transaction, with its journals. @throws Error with Consul's reason if it is refused */
  async write(operations: readonly RegistryOperation[]): Promise<void> {
    const journals = await Promise.all(
      operations.filter(isJournalled).map(async ({ key }) => {
        const at = key.lastIndexOf('/') + 1;
        const journal = journalKey(key.slice(0, at));
        const before = await this.#get(journal);
        const value = withChange(before, key.slice(at));
        return { verb: 'cas', key: journal, value, casIndex: before?.modifyIndex ?? 0 } as const;
      }),
    );
    await this.#commit([...operations, ...journals]);
  }

  async #commit(operations: readonly RegistryOperation[]): Promise<void> {
    await this.#consul.json('PUT', '/v1/txn', operations.map(toConsul));
  }

  async #get(key: string): Promise<RegistryEntry | undefined> {
    const { status, text } = await this.#consul.call('GET', `/v1/kv/${KEY_PREFIX}${key}`);
    if (status === 404) return undefined;
    const [raw] = JSON.parse(text) as { Value: string; CreateIndex: number; ModifyIndex: number }[];
    const { Value, CreateIndex: createIndex, ModifyIndex: modifyIndex } = raw!;
    return { key, value: Buffer.from(Value, 'base64').toString(), createIndex, modifyIndex };
  }

  /** Any number of operations, those that came first also first in the registry. */
  async writeAll(operations: readonly RegistryOperation[]): Promise<void> {
    let batch: RegistryOperation[] = [];
    let bytes = 0;
    for (const operation of operations) {
      const size = 300 + 1.4 * ('value' in operation ? operation.value.length : 0);
      if (batch.length === OPERATIONS_MAX || (batch.length > 0 && bytes + size > TRANSACTION_BYTES_MAX)) {
        await this.#commit(batch);
        batch = [];
        bytes = 0;
      }
      batch.push(operation);
      bytes += size;
    }
    if (batch.length > 0) await this.#commit(batch);
  }

  /** The whole population: networks, then each host's session, node, endpoints and addresses. */
  async settle(population: Population): Promise<void> {
    await this.writeAll(population.networkNames().flatMap(networkOperations));
    await Promise.all(population.hosts.map((host) => this.openSession(host)));
    await this.writeAll(population.hosts.flatMap((host) => this.operationsOf(host)));
  }

  /** All keys of a host that has joined. */
  operationsOf(host: SimulatedHost): RegistryOperation[] {
    const session = this.sessionOf(host);
    const operations = [nodeOperation(host, session)];
    for (const [network, endpoints] of host.byNetwork) {
      operations.push(...endpoints.map((endpoint) => addressOperation(host, endpoint)));
      operations.push(endpointsOperation(host, network, session));
    }
    return operations;
  }
}

function isJournalled({ key }: RegistryOperation): boolean {
  return parseNodeKey(key) !== undefined || parseEndpointsKey(key) !== undefined;
}

function toConsul(operation: RegistryOperation): object {
  const { verb, key } = operation;
  return {
    KV: {
      Verb: verb,
      Key: KEY_PREFIX + key,
      ...('value' in operation ? { Value: Buffer.from(operation.value).toString('base64') } : {}),
      ...('session' in operation ? { Session: operation.session } : {}),
      ...('casIndex' in operation ? { Index: operation.casIndex } : {}),
    },
  };
}
