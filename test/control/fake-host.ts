/** HostOperations without a host: fixed answers, what was called, and a failure on demand. */

import type { Endpoint, HostOperations, Network, Status } from '../../src/control/api/schema.js';
import { VtepError } from '../../src/control/errors.js';
import { settingsOf } from '../../src/control/networks/network-settings.js';

export const NETWORK: Network = {
  name: 'my_overlay',
  id: 'n-1',
  vni: 256,
  subnets: [{ cidr: '10.0.0.0/24', gateway: '10.0.0.1' }],
  internal: false,
  mtuBytes: 0,
  ...settingsOf({}),
  scope: 'global',
  createdAt: '2026-01-01T00:00:00.000Z',
};

export const ENDPOINT: Endpoint = {
  id: 'e-1',
  name: 'master',
  network: 'my_overlay',
  node: 'cdh1',
  mac: '02:00:5e:10:00:01',
  addresses: ['10.0.0.2/24'],
  local: {
    hostInterface: 'vtv-e1',
    containerInterface: 'eth0',
    sandbox: 'netns:master',
    mtuBytes: 1450,
    state: 'published',
  },
};

const REMOTE_ENDPOINT: Endpoint = {
  id: 'e-2',
  name: 'sla\u001b[2Jver',
  network: 'my_overlay',
  node: 'cdh2',
  mac: '02:00:5e:10:00:02',
  addresses: ['10.0.0.3/24'],
};

export const STATUS: Status = {
  version: '0.1.0',
  node: 'cdh1',
  vtep: { ip: '192.0.2.1', port: 4789 },
  underlay: { interface: 'ens33', mtuBytes: 1500 },
  uptimeSeconds: 3725.4,
  registry: { url: 'http://192.0.2.1:8500', connected: false, staleSeconds: 61, error: 'connection refused' },
  counts: { networks: 2, localNetworks: 1, localEndpoints: 1, nodes: 2 },
  workers: [{ id: 0, state: 'running', turns: 12 }],
  offloads: [
    { name: 'tap-tso', state: 'on' },
    { name: 'tap-uso', state: 'unsupported', detail: 'TUNSETOFFLOAD: EINVAL' },
    { name: 'underlay-gso', state: 'on', detail: 'refused 12 times by the route to 192.0.2.2' },
    { name: 'simd-checksum', state: 'off' },
  ],
  dns: [
    {
      ...{ network: 'my_overlay', names: 2, forward: true, counters: { queries: 3 } },
      addresses: [{ address: '10.0.0.1', state: 'listening' }],
    },
    {
      ...{ network: 'blue', names: 0, forward: true, counters: {} },
      addresses: [{ address: '10.0.1.1', state: 'waiting', error: 'bind EADDRNOTAVAIL' }],
    },
  ],
  totals: { tapRxFrames: 7, underlayTxBytes: 900, idle: 0 },
  drops: { unknownVni: 3, badHeader: 5, runt: 0 },
  networks: [{ vni: 256, network: 'my_overlay', counters: { tapRxFrames: 7, drop_badHeader: 4 } }],
  ports: [
    {
      ...{ id: 'e-1', name: 'master', network: 'my_overlay', interface: 'vtv-e1' },
      drops: { source_mac: 2, source_address: 0 },
    },
  ],
  portSecurity: { ports: 1, problem: 'nft is not installed' },
  vteps: [{ address: '192.0.2.2', port: 4789, counters: { rx_datagrams: 9, rx_drops: 6, tx_errors: 0 } }],
};

export class FakeHost implements HostOperations {
  /** Each call as [method, ...arguments]. */
  readonly calls: unknown[][] = [];
  /** Thrown by the next call, once. */
  failure: Error | undefined;
  /** What attach, and what detach, answers. */
  endpoint: Endpoint = ENDPOINT;
  detached: Endpoint[] = [ENDPOINT];

  async status() {
    return this.#answer(STATUS, 'status');
  }
  async listNetworks() {
    return this.#answer([NETWORK], 'listNetworks');
  }
  async createNetwork(input: Parameters<HostOperations['createNetwork']>[0]) {
    const made = { ...NETWORK, name: input.name, warnings: ['subnet 10.0.0.0/24 overlaps'] };
    return this.#answer(made, 'createNetwork', input);
  }
  async inspectNetwork(name: string) {
    const local = { bridge: 'vtb-100', tap: 'vtt-100', mtuBytes: 1450 };
    const peers = [{ address: '192.0.2.9', port: 4789 }];
    const usage = [{ cidr: '10.0.0.0/24', used: 3, spare: 2, free: 248 }];
    return this.#answer({ ...NETWORK, endpoints: [ENDPOINT], peers, usage, local }, 'inspectNetwork', name);
  }
  async removeNetwork(name: string, ...force: boolean[]) {
    this.#answer(undefined, 'removeNetwork', name, ...force);
    if (name.startsWith('no')) throw new VtepError('VTEP_ERR_NETWORK_UNKNOWN', `network "${name}" does not exist`);
  }
  async listEndpoints(network?: string) {
    return this.#answer([ENDPOINT, REMOTE_ENDPOINT], 'listEndpoints', network);
  }
  async attach(input: Parameters<HostOperations['attach']>[0]) {
    return this.#answer(this.endpoint, 'attach', input);
  }
  async detachById(id: string) {
    this.#answer(undefined, 'detachById', id);
  }
  async localEndpoints() {
    return this.#answer([ENDPOINT], 'localEndpoints');
  }
  async attachment(id: string) {
    const links = { bridge: undefined, hostInterface: undefined, container: undefined };
    return this.#answer({ ...links, gateways: [] }, 'attachment', id);
  }
  async nameservers(network: string) {
    return this.#answer(['10.0.0.1'], 'nameservers', network);
  }
  async detach(input: Parameters<HostOperations['detach']>[0]) {
    return this.#answer(this.detached, 'detach', input);
  }
  async listNodes() {
    const vtep = { ip: '192.0.2.1', port: 4789 };
    const nodes = [
      { name: 'cdh1', vtep, self: true },
      { name: 'cdh2', vtep: { ip: '192.0.2.2', port: 4789 }, self: false },
    ];
    return this.#answer(nodes, 'listNodes');
  }
  async listPeers(network?: string) {
    return this.#answer([{ network: 'my_overlay', address: '192.0.2.9', port: 8472 }], 'listPeers', network);
  }
  async addPeer(input: Parameters<HostOperations['addPeer']>[0]) {
    return this.#answer(input, 'addPeer', input);
  }
  async removePeer(input: Parameters<HostOperations['removePeer']>[0]) {
    this.#answer(undefined, 'removePeer', input);
  }
  async fdb(network?: string) {
    const remote = { address: '192.0.2.2', port: 4789 };
    const entries: Awaited<ReturnType<HostOperations['fdb']>> = [
      { network: 'my_overlay', vni: 256, mac: ENDPOINT.mac, kind: 'local' },
      { network: 'my_overlay', vni: 256, mac: REMOTE_ENDPOINT.mac, kind: 'dynamic', vtep: remote, idleSeconds: 65 },
    ];
    return this.#answer(entries, 'fdb', network);
  }
  async neighbours(network?: string) {
    const there = { node: 'cdh2', vtep: { address: '192.0.2.2', port: 4789 } };
    const entries: Awaited<ReturnType<HostOperations['neighbours']>> = [
      { network: 'my_overlay', vni: 256, address: '10.0.0.1', mac: '02:76:74:00:01:00', kind: 'gateway' },
      { network: 'my_overlay', vni: 256, address: '10.0.0.3', mac: REMOTE_ENDPOINT.mac, kind: 'remote', ...there },
    ];
    return this.#answer(entries, 'neighbours', network);
  }

  #answer<T>(value: T, ...call: unknown[]): T {
    this.calls.push(call);
    const { failure } = this;
    this.failure = undefined;
    if (failure !== undefined) throw failure;
    return value;
  }
}
