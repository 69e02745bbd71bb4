/** An endpoint that is there gets another name, or aliases. Control plane, main thread. */
import type { Logger } from 'pino';
import type { NetworkValue } from '../registry/schema.js';
import type { LocalEndpoint, LocalState } from '../state/local-state.js';
import type { EndpointTable } from './endpoint-table.js';
import type { KeyedMutex } from './keyed-mutex.js';
import type { LocalNetworks } from './local-networks.js';
import type { RegistryReach } from './registry-reach.js';
import type { RegistryReturn } from './registry-return.js';

export interface EndpointNaming {
  /** @default it keeps the one it has */
  readonly name?: string | undefined;
  /** Further names that lead to it. @default it keeps those it has */
  readonly aliases?: readonly string[] | undefined;
}

export interface EndpointNamesOptions {
  readonly table: EndpointTable;
  readonly locals: LocalNetworks;
  readonly mutex: KeyedMutex;
  readonly state: LocalState;
  readonly reach: RegistryReach;
  readonly registryReturn: RegistryReturn;
  readonly logger: Logger;
  readonly onOwed: () => void;
  /** What the network has here is another now. */
  readonly tell: (network: NetworkValue) => void;
}

export class EndpointNames {
  private readonly options: EndpointNamesOptions;

  constructor(options: EndpointNamesOptions) {
    this.options = options;
  }

  /**
   * The registry is told at once, or when it is back. An endpoint that is gone is left alone.
   * @throws VtepError VTEP_ERR_STATE; nothing has changed then
   */
  async describe(id: string, naming: EndpointNaming): Promise<void> {
    const { table, mutex } = this.options;
    const network = table.get(id)?.network;
    if (network !== undefined) await mutex.run(network, () => this.describeNow(id, naming));
  }

  private async describeNow(id: string, naming: EndpointNaming): Promise<void> {
    const { table, locals, state, tell } = this.options;
    const before = table.get(id);
    const after = before && withNaming(before, naming);
    if (before === undefined || after === undefined || JSON.stringify(before) === JSON.stringify(after)) return;
    await state.putEndpoint(after);
    table.set(after);
    const network = locals.get(after.network);
    if (network === undefined) return;
    tell(network);
    await this.publish(network);
  }

  private async publish(network: NetworkValue): Promise<void> {
    const { reach, registryReturn, onOwed, logger } = this.options;
    if (reach.away) return onOwed();
    await registryReturn.publish(network).catch((error: unknown) => {
      const message = `a name is told to the registry when it is back: ${(error as Error).message}`;
      logger.warn({ event: 'endpoint.name-owed', err: error, network: network.name }, message);
      onOwed();
    });
  }
}

function withNaming(endpoint: LocalEndpoint, naming: EndpointNaming): LocalEndpoint {
  const { aliases: before, ...rest } = endpoint;
  const { name = endpoint.name, aliases = before ?? [] } = naming;
  return { ...rest, name, ...(aliases.length === 0 ? {} : { aliases: [...aliases] }) };
}
