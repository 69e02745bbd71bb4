/** A node's presence: entered, taken up again, taken over, lost, refused. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { NodeSession } from '../../../src/control/nodes/node-session.js';
import { LocalState } from '../../../src/control/state/local-state.js';
import { MemoryRegistry } from '../memory-registry.js';

const ends: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

function newState(): LocalState {
  const directory = mkdtempSync(join(tmpdir(), 'vtct-'));
  const state = new LocalState(directory);
  ends.push(async () => {
    await state.close();
    rmSync(directory, { recursive: true });
  });
  return state;
}

function newSession(registry: MemoryRegistry, state: LocalState, ip = '192.0.2.1') {
  const live = vi.fn(async () => undefined);
  const contact = vi.fn();
  const session = new NodeSession({
    ...{ registry, state, node: 'cdh1', vtep: { ip, port: 4789 }, ttlSeconds: 0.06, instanceId: 'i' },
    ...{ logger: pino({ level: 'silent' }), onLive: live, onContact: contact },
  });
  ends.push(() => session.close());
  return { session, live, contact };
}

describe('NodeSession', () => {
  it('enters the node, held by its session, and publishes once', async () => {
    const registry = new MemoryRegistry();
    const { session, live } = newSession(registry, newState());
    await session.start();
    const entry = await registry.get('nodes/cdh1');
    expect(entry?.session).toBe(session.id);
    expect(JSON.parse(entry!.value)).toMatchObject({ vtep: { ip: '192.0.2.1', port: 4789 } });
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(live).toHaveBeenCalledTimes(1);
  });

  it('takes up the stored session again after a restart', async () => {
    const registry = new MemoryRegistry();
    const state = newState();
    const first = newSession(registry, state);
    await first.session.start();
    await first.session.close();
    const second = newSession(registry, state);
    await second.session.start();
    expect(second.session.id).toBe(first.session.id);
    expect(second.live).toHaveBeenCalledTimes(1);
  });

  it('takes over the name from an earlier run at the same address', async () => {
    const registry = new MemoryRegistry();
    const first = newSession(registry, newState());
    await first.session.start();
    await first.session.close();
    const second = newSession(registry, newState());
    await second.session.start();
    expect(registry.sessions).toEqual(new Set([second.session.id]));
    expect((await registry.get('nodes/cdh1'))?.session).toBe(second.session.id);
  });

  it('refuses a name that another host has, naming its address, and leaves no session', async () => {
    const registry = new MemoryRegistry();
    const first = newSession(registry, newState());
    await first.session.start();
    const state = newState();
    await expect(newSession(registry, state, '192.0.2.2').session.start()).rejects.toMatchObject({
      code: 'VTEP_ERR_NODE_NAME_IN_USE',
      message: expect.stringContaining('192.0.2.1'),
    });
    expect(registry.sessions).toEqual(new Set([first.session.id]));
    expect(state.session).toBeUndefined();
  });

  it('makes a lost session anew and publishes again', async () => {
    const registry = new MemoryRegistry();
    const { session, live } = newSession(registry, newState());
    await session.start();
    const lost = session.id!;
    registry.expire(lost);
    await vi.waitFor(async () => expect((await registry.get('nodes/cdh1'))?.session).toBe(session.id));
    expect(session.id).not.toBe(lost);
    await vi.waitFor(() => expect(live).toHaveBeenCalledTimes(2));
  });

  it('starts without the registry, goes on asking, and publishes when it comes', async () => {
    const registry = new MemoryRegistry();
    registry.goDown();
    const { session, live, contact } = newSession(registry, newState());
    await session.start();
    expect(session.id).toBeUndefined();
    expect(contact).toHaveBeenCalledWith(expect.objectContaining({ code: 'VTEP_ERR_REGISTRY_UNREACHABLE' }));
    registry.down = false;
    await vi.waitFor(() => expect(live).toHaveBeenCalledTimes(1));
    expect(registry.under('nodes/')).toEqual(['nodes/cdh1']);
  });

  it('publishes again when publishing failed', async () => {
    const registry = new MemoryRegistry();
    const { session, live } = newSession(registry, newState());
    live.mockRejectedValueOnce(new Error('not yet'));
    await session.start();
    await vi.waitFor(() => expect(live).toHaveBeenCalledTimes(2));
  });

  it('enters the node again when its key was removed', async () => {
    const registry = new MemoryRegistry();
    const { session } = newSession(registry, newState());
    await session.start();
    await registry.delete('nodes/cdh1');
    session.republish();
    await vi.waitFor(() => expect(registry.under('nodes/')).toEqual(['nodes/cdh1']));
  });
});
