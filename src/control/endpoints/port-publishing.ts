/**
 * Published ports of an endpoint that is there already: container engines ask for them after the endpoint. Control plane,
 * main thread; in the turn of the endpoint's network.
 */
import type { PublishedPort } from '../api/publish-schema.js';
import type { GatewayManager } from '../gateway/gateway-manager.js';
import type { Iproute } from '../ports/iproute.js';
import { adoptHostEnd } from '../ports/veth.js';
import type { LocalEndpoint, LocalState } from '../state/local-state.js';
import * as refusals from './attach-refusals.js';
import { type EndpointTable, hostEnd } from './endpoint-table.js';
import type { KeyedMutex } from './keyed-mutex.js';

export interface PortPublishingOptions {
  readonly table: EndpointTable;
  readonly mutex: KeyedMutex;
  readonly iproute: Iproute;
  readonly state: LocalState;
  readonly gateway: GatewayManager;
}

export class PortPublishing {
  private readonly options: PortPublishingOptions;

  constructor(options: PortPublishingOptions) {
    this.options = options;
  }

  /**
   * In the place of those that it has; nothing happens if they are the same.
   * @throws VtepError VTEP_ERR_ENDPOINT_UNKNOWN, VTEP_ERR_HOST_PORT_IN_USE, VTEP_ERR_INVALID, VTEP_ERR_KERNEL; none is
   *   published then
   */
  async publish(id: string, publish: readonly PublishedPort[]): Promise<void> {
    const { table, iproute, state, gateway } = this.options;
    await this.inTurn(id, async (endpoint) => {
      if (JSON.stringify(endpoint.publish) === JSON.stringify(publish)) return;
      await gateway.unpublish(id);
      await gateway.publish({ ...endpoint, publish });
      const published = { ...endpoint, publish };
      try {
        await adoptHostEnd(iproute, hostEnd(published));
        await state.putEndpoint(published);
      } catch (error) {
        await gateway.unpublish(id);
        throw error;
      }
      table.set(published);
    });
  }

  /** Nothing happens if it has none. @throws VtepError VTEP_ERR_ENDPOINT_UNKNOWN */
  async unpublish(id: string): Promise<void> {
    const { table, state, gateway } = this.options;
    await this.inTurn(id, async (endpoint) => {
      if (endpoint.publish === undefined) return;
      await gateway.unpublish(id);
      const { publish: _, ...bare } = endpoint;
      await state.putEndpoint(bare);
      table.set(bare);
    });
  }

  private async inTurn(id: string, change: (endpoint: LocalEndpoint) => Promise<void>): Promise<void> {
    const { table, mutex } = this.options;
    const unknown = () => refusals.endpointUnknown(`with id "${id}"`);
    const there = table.get(id);
    if (there === undefined) throw unknown();
    await mutex.run(there.network, async () => {
      const endpoint = table.get(id);
      if (endpoint === undefined) throw unknown();
      await change(endpoint);
    });
  }
}
