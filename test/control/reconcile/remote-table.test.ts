/** From readings of the registry to calls of the data plane, on a clock that the test moves. */
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { RemoteTable } from '../../../src/control/reconcile/remote-table.js';
import type { RegistryEntry } from '../../../src/control/registry/registry.js';
import { FakeForwarding } from '../fake-forwarding.js';

const HOLD_MS = 30_000;
const SETTLE_MS = 250;
const MAC = '02:00:5e:10:00:01';

function entry(key: string, value: object, modifyIndex = 1): RegistryEntry {
  return { key, value: JSON.stringify({ v: 1, ...value }), createIndex: 1, modifyIndex };
}

const node = (name: string, ip: string, index = 1) =>
  entry(`nodes/${name}`, { vtep: { ip, port: 4789 }, apiVersion: 1, features: [], instanceId: 'i' }, index);

const endpoints = (name: string, macs: string[], index = 1) =>
  entry(
    `endpoints/blue/${name}`,
    { endpoints: macs.map((mac) => ({ id: mac, name: 'c', mac, addresses: ['10.0.0.2/24'] })) },
    index,
  );

const peer = (ip: string, port = 4789, index = 1) =>
  entry(`peers/blue/${ip}`, { address: ip, port, createdAt: '2026-01-01T00:00:00.000Z' }, index);

let forwarding: FakeForwarding;
let table: RemoteTable;

beforeEach(() => {
  vi.useFakeTimers();
  forwarding = new FakeForwarding();
  const logger = pino({ level: 'silent' });
  table = new RemoteTable({ node: 'me', forwarding, logger, holdMs: HOLD_MS, settleMs: SETTLE_MS });
  forwarding.openNetwork({ name: 'blue', vni: 256, tapName: 't', mtuBytes: 1450, learning: true });
  forwarding.calls.length = 0;
  table.open('blue', 256);
});
afterEach(() => {
  table.stop();
  vi.useRealTimers();
});

describe('RemoteTable', () => {
  it('enters a node when both its keys are there, in either order, and skips its own', () => {
    table.setEndpoints('blue', [endpoints('b', [MAC]), endpoints('me', [MAC])]);
    expect(forwarding.calls).toEqual([]);
    table.setNodes([node('b', '192.0.2.2'), node('me', '192.0.2.1'), node('c', '192.0.2.3')]);
    expect(forwarding.calls).toEqual([`remote 256 node/b 192.0.2.2:4789 ${MAC}`]);
    table.setEndpoints('blue', [endpoints('b', [MAC]), endpoints('c', [])]);
    expect(forwarding.calls.slice(1)).toEqual(['remote 256 node/c 192.0.2.3:4789 ']);
  });

  it('looks only at what changed', () => {
    table.setNodes([node('b', '192.0.2.2')]);
    table.setEndpoints('blue', [endpoints('b', [MAC])]);
    forwarding.calls.length = 0;
    table.setEndpoints('blue', [endpoints('b', [MAC])]);
    table.setNodes([node('b', '192.0.2.2')]);
    expect(forwarding.calls).toEqual([]);
    table.setEndpoints('blue', [endpoints('b', [], 2)]);
    expect(forwarding.calls).toEqual(['remote 256 node/b 192.0.2.2:4789 ']);
  });

  it("follows a node's new address", () => {
    table.setNodes([node('b', '192.0.2.2')]);
    table.setEndpoints('blue', [endpoints('b', [MAC])]);
    table.setNodes([node('b', '192.0.2.9', 2)]);
    expect(forwarding.calls.at(-1)).toBe(`remote 256 node/b 192.0.2.9:4789 ${MAC}`);
  });

  it('removes a node that left the network after the settling time', () => {
    table.setNodes([node('b', '192.0.2.2')]);
    table.setEndpoints('blue', [endpoints('b', [MAC])]);
    table.setEndpoints('blue', []);
    expect(forwarding.calls.at(-1)).not.toBe('gone 256 node/b');
    vi.advanceTimersByTime(SETTLE_MS);
    expect(forwarding.calls.at(-1)).toBe('gone 256 node/b');
  });

  it('holds a node that left without a word, then removes it', () => {
    table.setNodes([node('b', '192.0.2.2')]);
    table.setEndpoints('blue', [endpoints('b', [MAC])]);
    table.setEndpoints('blue', []);
    table.setNodes([]);
    vi.advanceTimersByTime(SETTLE_MS + HOLD_MS - 1);
    expect(forwarding.networks.get(256)?.remotes.has('node/b')).toBe(true);
    vi.advanceTimersByTime(1);
    expect(forwarding.networks.get(256)?.remotes.has('node/b')).toBe(false);
  });

  it('never removes a node that comes back in time', () => {
    table.setNodes([node('b', '192.0.2.2')]);
    table.setEndpoints('blue', [endpoints('b', [MAC])]);
    table.setNodes([]);
    table.setEndpoints('blue', []);
    vi.advanceTimersByTime(HOLD_MS / 2);
    table.setEndpoints('blue', [endpoints('b', [MAC], 9)]);
    table.setNodes([node('b', '192.0.2.2', 8)]);
    vi.advanceTimersByTime(HOLD_MS * 2);
    expect(forwarding.calls.some((call) => call.startsWith('gone'))).toBe(false);
  });

  it('keeps what it knew when a value cannot be read', () => {
    table.setNodes([node('b', '192.0.2.2')]);
    table.setEndpoints('blue', [endpoints('b', [MAC])]);
    forwarding.calls.length = 0;
    table.setEndpoints('blue', [entry('endpoints/blue/b', { endpoints: 'x' }, 3)]);
    table.setNodes([entry('nodes/b', { v: 2 }, 3)]);
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

  it('forgets a closed network with its timers', () => {
    table.setNodes([node('b', '192.0.2.2')]);
    table.setEndpoints('blue', [endpoints('b', [MAC])]);
    table.setEndpoints('blue', []);
    table.close('blue');
    forwarding.calls.length = 0;
    vi.advanceTimersByTime(HOLD_MS * 2);
    table.setEndpoints('blue', [endpoints('b', [MAC])]);
    expect(forwarding.calls).toEqual([]);
  });
});
