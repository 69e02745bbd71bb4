/** From readings of the registry to calls of the data plane, on a clock that the test moves. */
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { RemoteTable } from '../../../src/control/reconcile/remote-table.js';
import type { RegistryEntry } from '../../../src/control/registry/registry.js';
import { FakeForwarding } from '../fake-forwarding.js';

const HOLD_MS = 30_000;
const SETTLE_MS = 250;
const WINDOW_MS = 10_000;
const MAC = '02:00:5e:10:00:01';
const OTHER = '02:00:5e:10:00:02';

function entry(key: string, value: object, modifyIndex = 1, session = 's1'): RegistryEntry {
  return { key, value: JSON.stringify({ v: 1, ...value }), createIndex: 1, modifyIndex, session };
}

const node = (name: string, ip: string, index = 1, session = 's1') =>
  entry(`nodes/${name}`, { vtep: { ip, port: 4789 }, apiVersion: 1, features: [], instanceId: 'i' }, index, session);

const endpoints = (name: string, macs: string[], index = 1, session = 's1') =>
  entry(
    `endpoints/blue/${name}`,
    { endpoints: macs.map((mac) => ({ id: mac, name: 'c', mac, addresses: ['10.0.0.2/24'] })) },
    index,
    session,
  );

/** This host's own. */
const me = (session = 's1') => node('me', '192.0.2.1', 1, session);

let readIndex = 0;
const read = (...entries: RegistryEntry[]) => table.setNodes({ index: ++readIndex, entries });

const peer = (ip: string, port = 4789, index = 1) =>
  entry(`peers/blue/${ip}`, { address: ip, port, createdAt: '2026-01-01T00:00:00.000Z' }, index);

let forwarding: FakeForwarding;
/** By network and node, the names of the endpoints; undefined: gone. */
let told: [string, string, string[] | undefined][];
let table: RemoteTable;

beforeEach(() => {
  vi.useFakeTimers();
  forwarding = new FakeForwarding();
  const logger = pino({ level: 'silent' });
  table = new RemoteTable({
    node: 'me',
    families: [4],
    forwarding,
    logger,
    holdMs: HOLD_MS,
    settleMs: SETTLE_MS,
    windowMs: WINDOW_MS,
    onNode: (network, node, found) => told.push([network, node, found?.map(({ name }) => name)]),
  });
  told = [];
  forwarding.openNetwork({ name: 'blue', vni: 256, tapName: 't', mtuBytes: 1450, learning: true });
  forwarding.calls.length = 0;
  table.open('blue', 256);
  read(me());
  vi.advanceTimersByTime(1);
});
afterEach(() => {
  table.stop();
  vi.useRealTimers();
});

const isKnown = (name: string) => forwarding.networks.get(256)?.remotes.has(`node/${name}`) === true;

describe('RemoteTable', () => {
  it('tells what forwarding hears of a node, and when it is gone: also one that is held', () => {
    table.setEndpoints('blue', [endpoints('b', [MAC]), endpoints('me', [MAC])]);
    read(me(), node('b', '192.0.2.2'));
    table.setEndpoints('blue', [{ ...endpoints('b', [MAC], 2), value: 'junk' }]);
    expect(told).toEqual([['blue', 'b', ['c']]]);
    table.setEndpoints('blue', []);
    vi.advanceTimersByTime(SETTLE_MS - 1);
    expect(told).toHaveLength(1);
    vi.advanceTimersByTime(1);
    expect(told.slice(1)).toEqual([['blue', 'b', undefined]]);
    table.setEndpoints('blue', [endpoints('b', [MAC], 3)]);
    expect(told.slice(2)).toEqual([['blue', 'b', ['c']]]);
    // The registry lost its data: this host's own entry is missing as well.
    read();
    table.setEndpoints('blue', []);
    vi.advanceTimersByTime(HOLD_MS - 2);
    expect(told).toHaveLength(3);
    vi.advanceTimersByTime(HOLD_MS);
    expect(told.slice(3)).toEqual([['blue', 'b', undefined]]);
  });

  it('enters a node when both its keys are there, in either order, and skips its own', () => {
    table.setEndpoints('blue', [endpoints('b', [MAC]), endpoints('me', [MAC])]);
    expect(forwarding.calls).toEqual([]);
    read(me(), node('b', '192.0.2.2'), node('c', '192.0.2.3'));
    expect(forwarding.calls).toEqual([`remote 256 node/b 192.0.2.2:4789 ${MAC}`]);
    table.setEndpoints('blue', [endpoints('b', [MAC]), endpoints('c', [])]);
    expect(forwarding.calls.slice(1)).toEqual(['remote 256 node/c 192.0.2.3:4789 ']);
  });

  it('looks only at what changed', () => {
    read(me(), node('b', '192.0.2.2'));
    table.setEndpoints('blue', [endpoints('b', [MAC])]);
    forwarding.calls.length = 0;
    table.setEndpoints('blue', [endpoints('b', [MAC])]);
    read(me(), node('b', '192.0.2.2'));
    expect(forwarding.calls).toEqual([]);
    table.setEndpoints('blue', [endpoints('b', [], 2)]);
    expect(forwarding.calls).toEqual(['remote 256 node/b 192.0.2.2:4789 ']);
  });

  it("follows a node's new address", () => {
    read(me(), node('b', '192.0.2.2'));
    table.setEndpoints('blue', [endpoints('b', [MAC])]);
    read(me(), node('b', '192.0.2.9', 2));
    expect(forwarding.calls.at(-1)).toBe(`remote 256 node/b 192.0.2.9:4789 ${MAC}`);
  });

  it('removes a node that left the network after the settling time', () => {
    read(me(), node('b', '192.0.2.2'));
    table.setEndpoints('blue', [endpoints('b', [MAC])]);
    table.setEndpoints('blue', []);
    expect(forwarding.calls.at(-1)).not.toBe('gone 256 node/b');
    vi.advanceTimersByTime(SETTLE_MS);
    expect(forwarding.calls.at(-1)).toBe('gone 256 node/b');
  });

  it('removes a node that died alone after the settling time, whichever of its keys went first', () => {
    for (const first of ['nodes', 'endpoints']) {
      const [all, one] = [
        [me(), node('b', '192.0.2.2'), node('c', '192.0.2.3')],
        [me(), node('c', '192.0.2.3')],
      ];
      read(...all);
      table.setEndpoints('blue', [endpoints('b', [MAC])]);
      if (first === 'nodes') read(...one);
      table.setEndpoints('blue', []);
      if (first !== 'nodes') read(...one);
      vi.advanceTimersByTime(SETTLE_MS - 1);
      expect(isKnown('b')).toBe(true);
      vi.advanceTimersByTime(1);
      expect(isKnown('b')).toBe(false);
      vi.advanceTimersByTime(WINDOW_MS);
    }
  });

  it('holds what a registry that lost its data lacks, then removes what did not come back', () => {
    read(me(), node('b', '192.0.2.2'), node('c', '192.0.2.3'));
    table.setEndpoints('blue', [endpoints('b', [MAC]), endpoints('c', [])]);
    table.setEndpoints('blue', []);
    table.noteFailure();
    vi.advanceTimersByTime(5000);
    read();
    vi.advanceTimersByTime(1000);
    read(me('s2'), node('b', '192.0.2.2', 5, 's2'));
    vi.advanceTimersByTime(HOLD_MS / 2);
    table.setEndpoints('blue', [endpoints('b', [MAC], 9, 's2')]);
    vi.advanceTimersByTime(HOLD_MS / 2 - 1);
    expect([isKnown('b'), isKnown('c')]).toEqual([true, true]);
    vi.advanceTimersByTime(HOLD_MS);
    expect([isKnown('b'), isKnown('c')]).toEqual([true, false]);
  });

  it('holds the endpoints of a node that is back under a new session, and takes its new ones', () => {
    read(me(), node('b', '192.0.2.2'));
    table.setEndpoints('blue', [endpoints('b', [MAC])]);
    // Its node key is seen to be back before its old endpoints are seen to be gone.
    read(me(), node('b', '192.0.2.9', 7, 's2'));
    table.setEndpoints('blue', []);
    vi.advanceTimersByTime(HOLD_MS / 2);
    expect(isKnown('b')).toBe(true);
    table.setEndpoints('blue', [endpoints('b', [OTHER], 9, 's2')]);
    expect(forwarding.networks.get(256)?.remotes.get('node/b')).toEqual({ address: '192.0.2.9:4789', macs: [OTHER] });
    vi.advanceTimersByTime(HOLD_MS * 2);
    expect(isKnown('b')).toBe(true);
    expect(forwarding.calls.some((call) => call.startsWith('gone'))).toBe(false);
  });

  it('believes nobody gone while no reading is newer than a failed query', () => {
    read(me(), node('b', '192.0.2.2'));
    table.setEndpoints('blue', [endpoints('b', [MAC])]);
    table.noteFailure();
    // The reading that an empty registry gave to the query that was quicker.
    table.setEndpoints('blue', []);
    vi.advanceTimersByTime(HOLD_MS * 3);
    expect(isKnown('b')).toBe(true);
    read(me(), node('b', '192.0.2.2'));
    vi.advanceTimersByTime(SETTLE_MS);
    expect(isKnown('b')).toBe(false);
  });

  it('holds what only the local copy knows from the first reading on', () => {
    const logger = pino({ level: 'silent' });
    const times = { holdMs: HOLD_MS, settleMs: SETTLE_MS, windowMs: WINDOW_MS };
    table = new RemoteTable({ node: 'me', families: [4], forwarding, logger, ...times });
    table.restoreNodes([me(), node('b', '192.0.2.2')]);
    table.open('blue', 256);
    table.setEndpoints('blue', [endpoints('b', [MAC])]);
    expect(isKnown('b')).toBe(true);
    vi.advanceTimersByTime(HOLD_MS);
    table.setEndpoints('blue', []);
    read(me());
    vi.advanceTimersByTime(HOLD_MS - 1);
    expect(isKnown('b')).toBe(true);
    vi.advanceTimersByTime(1);
    expect(isKnown('b')).toBe(false);
  });

  it('enters again what was refused, when asked to', () => {
    const set = vi.spyOn(forwarding, 'setRemote').mockImplementationOnce(() => {
      throw new Error("is this host's own address");
    });
    read(me(), node('b', '192.0.2.1'));
    table.setEndpoints('blue', [endpoints('b', [MAC])]);
    expect([isKnown('b'), set.mock.calls.length]).toEqual([false, 1]);
    table.applyAgain();
    expect(isKnown('b')).toBe(true);
  });

  it('keeps what it knew when a value cannot be read', () => {
    read(me(), node('b', '192.0.2.2'));
    table.setEndpoints('blue', [endpoints('b', [MAC])]);
    forwarding.calls.length = 0;
    table.setEndpoints('blue', [entry('endpoints/blue/b', { endpoints: 'x' }, 3)]);
    read(me(), entry('nodes/b', { v: 2 }, 3));
    vi.advanceTimersByTime(HOLD_MS * 2);
    expect(forwarding.calls).toEqual([]);
  });

  it('enters and removes peers, each by its address', () => {
    table.setPeers('blue', [peer('192.0.2.50'), peer('192.0.2.51', 8472)]);
    table.setPeers('blue', [peer('192.0.2.51', 4790, 2)]);
    expect(forwarding.calls).toEqual([
      'remote 256 peer/192.0.2.50 192.0.2.50:4789 ',
      'remote 256 peer/192.0.2.51 192.0.2.51:8472 ',
      'remote 256 peer/192.0.2.51 192.0.2.51:4790 ',
      'gone 256 peer/192.0.2.50',
    ]);
  });

  it('says who shares no family of the underlay, once, and lets it in as soon as it does', () => {
    const ips = (vtep: object, index: number) =>
      entry('nodes/b', { vtep: { port: 4789, ...vtep }, apiVersion: 1, features: [], instanceId: 'i' }, index, 's1');
    read(me(), ips({ ip: '2001:db8::2' }, 1), node('c', '192.0.2.3'));
    table.setEndpoints('blue', [endpoints('b', [MAC]), endpoints('c', [OTHER])]);
    table.setPeers('blue', [peer('2001:db8::50'), peer('192.0.2.50')]);
    // What is between this host and all others goes on.
    expect(forwarding.calls.filter((call) => call.startsWith('remote'))).toEqual([
      `remote 256 node/c 192.0.2.3:4789 ${OTHER}`,
      'remote 256 peer/192.0.2.50 192.0.2.50:4789 ',
    ]);
    expect(table.unreachable()).toEqual([
      {
        network: 'blue',
        source: 'node/b',
        addresses: ['2001:db8::2'],
        reason:
          'node b has only IPv6 (2001:db8::2) on the underlay, this host only IPv4: no frame of network "blue" passes between them; start one of the two with --underlay-family both',
      },
      expect.objectContaining({ source: 'peer/2001:db8::50' }),
    ]);
    expect(told.map(([, name]) => name)).toEqual(['c']);
    table.setPeers('blue', []);
    read(me(), ips({ ip: '2001:db8::2', otherIp: '192.0.2.2' }, 2), node('c', '192.0.2.3'));
    expect([isKnown('b'), table.unreachable()]).toEqual([true, []]);
    // It gives IPv4 up again: its MACs lead nowhere from then on.
    read(me(), ips({ ip: '2001:db8::2' }, 3), node('c', '192.0.2.3'));
    expect([isKnown('b'), table.unreachable().length, told.at(-1)]).toEqual([false, 1, ['blue', 'b', undefined]]);
    table.close('blue');
    expect(table.unreachable()).toEqual([]);
  });

  it('sends to a host with both families by IPv4, and knows it by IPv6 too', () => {
    const set = vi.spyOn(forwarding, 'setRemote');
    const vtep = { ip: '192.0.2.2', otherIp: '2001:db8::2', port: 4789 };
    read(me(), entry('nodes/b', { vtep, apiVersion: 1, features: [], instanceId: 'i' }, 1, 's1'));
    table.setEndpoints('blue', [endpoints('b', [MAC])]);
    const address = { address: '192.0.2.2', port: 4789, otherAddress: '2001:db8::2' };
    expect(set.mock.calls.map(([, , remote]) => remote)).toEqual([address]);
  });

  it('forgets a closed network with its timers', () => {
    read(me(), node('b', '192.0.2.2'));
    table.setEndpoints('blue', [endpoints('b', [MAC])]);
    table.setEndpoints('blue', []);
    table.close('blue');
    forwarding.calls.length = 0;
    vi.advanceTimersByTime(HOLD_MS * 2);
    table.setEndpoints('blue', [endpoints('b', [MAC])]);
    expect(forwarding.calls).toEqual([]);
  });
});
