/**
 * Networks that Docker has just made and whose names are still asked for: what puts something under the network's name in
 * the registry waits for that. Control plane, main thread.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { NetworkValue } from '../../registry/schema.js';
import type { Bindings } from './bindings.js';
import type { DockerHooks } from './hooks.js';

/** Docker's API answers within milliseconds, or not at all. */
const WAIT_MS = 2000;

export class PendingNames {
  private readonly bindings: Bindings;
  private readonly hooks: DockerHooks;

  constructor(bindings: Bindings, hooks: DockerHooks) {
    this.bindings = bindings;
    this.hooks = hooks;
  }

  /** The network as it is called when its name is known, or by its provisional name. @throws VtepError of the hook */
  async settled(network: NetworkValue): Promise<NetworkValue> {
    const pending = this.bindings
      .all()
      .filter(({ id }) => id === network.id)
      .flatMap(({ networkId }) => this.hooks.pendingName(networkId) ?? []);
    if (pending.length === 0) return network;
    const abort = new AbortController();
    try {
      await Promise.race([
        Promise.all(pending),
        sleep(WAIT_MS, undefined, { signal: abort.signal }).catch(() => undefined),
      ]);
    } finally {
      abort.abort();
    }
    return (await this.bindings.byId(network.id, network.name)) ?? network;
  }
}
