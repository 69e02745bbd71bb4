/** A node's presence: entered, taken up again, taken over, lost, refused. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { NodeSession } from '../../../src/control/nodes/node-session.js';
import type { Registry } from '../../../src/control/registry/registry.js';
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

function newSession(
  registry: Registry,
  state: LocalState,
  ip = '192.0.2.1',
  hostId = 'host-of-192.0.2.1',
  otherIp?: string,
) {
  const live = vi.fn(async () => undefined);
  const contact = vi.fn();
  const session = new NodeSession({
    ...{ registry, state, node: 'cdh1', vtep: { ip, otherIp, port: 4789 }, ttlSeconds: 0.12, instanceId: 'i', hostId },
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
    await expect(newSession(registry, state, '192.0.2.2', 'another').session.start()).rejects.toMatchObject({
      code: 'VTEP_ERR_NODE_NAME_IN_USE',
      message: expect.stringContaining('192.0.2.1'),
    });
    expect(registry.sessions).toEqual(new Set([first.session.id]));
    expect(state.session).toBeUndefined();
  });

  it('enters both addresses, and by either of them is known as the same host', async () => {
    const registry = new MemoryRegistry();
    const first = newSession(registry, newState(), '192.0.2.1', 'one', '2001:db8::1');
    await first.session.start();
    const vtep = async () => JSON.parse((await registry.get('nodes/cdh1'))!.value).vtep;
    expect(await vtep()).toEqual({ ip: '192.0.2.1', otherIp: '2001:db8::1', port: 4789 });
    await first.session.close();
    const second = newSession(registry, newState(), '2001:db8::1', 'two');
    await second.session.start();
    expect(await vtep()).toEqual({ ip: '2001:db8::1', port: 4789 });
    expect(registry.sessions).toEqual(new Set([second.session.id]));
  });

  it('takes over the name from itself at another address, also without its stored session', async () => {
    const registry = new MemoryRegistry();
    const first = newSession(registry, newState());
    await first.session.start();
    await first.session.close();
    const second = newSession(registry, newState(), '192.0.2.99');
    await second.session.start();
    expect(registry.sessions).toEqual(new Set([second.session.id]));
    expect(JSON.parse((await registry.get('nodes/cdh1'))!.value).vtep.ip).toBe('192.0.2.99');
  });

  it('does not take the name from a copy of itself that runs elsewhere, for ever and back', async () => {
    const registry = new MemoryRegistry();
    const first = newSession(registry, newState());
    await first.session.start();
    const copy = newSession(registry, newState(), '192.0.2.99');
    await copy.session.start();
    await vi.waitFor(() =>
      expect(first.contact).toHaveBeenCalledWith(expect.objectContaining({ code: 'VTEP_ERR_NODE_NAME_IN_USE' })),
    );
    expect((await registry.get('nodes/cdh1'))?.session).toBe(copy.session.id);
  });

  it('tells of another address at once, under the same session', async () => {
    const registry = new MemoryRegistry();
    const { session, live } = newSession(registry, newState());
    await session.start();
    const before = session.id;
    session.move({ ip: '192.0.2.50', port: 4789 });
    await vi.waitFor(async () =>
      expect(JSON.parse((await registry.get('nodes/cdh1'))!.value).vtep.ip).toBe('192.0.2.50'),
    );
    expect(session.id).toBe(before);
    await vi.waitFor(() => expect(live).toHaveBeenCalledTimes(2));
  });

  it('gives up a renewal that is not answered, and renews again', async () => {
    const registry = new MemoryRegistry();
    const renew = vi.spyOn(registry, 'renewSession');
    const { session, contact } = newSession(registry, newState());
    await session.start();
    renew.mockImplementationOnce(() => new Promise(() => undefined));
    await vi.waitFor(
      () => expect(contact).toHaveBeenCalledWith(expect.objectContaining({ code: 'VTEP_ERR_REGISTRY_UNREACHABLE' })),
      { timeout: 5000 },
    );
    await vi.waitFor(() => expect(contact.mock.lastCall).toEqual([]), { timeout: 5000 });
    expect((await registry.get('nodes/cdh1'))?.session).toBe(session.id);
  });

  it('asks for a session of half the time after which it is to count as gone', async () => {
    const registry = new MemoryRegistry();
    const create = vi.spyOn(registry, 'createSession');
    const { logger, onLive } = { logger: pino({ level: 'silent' }), onLive: async () => undefined };
    const session = new NodeSession({
      ...{ registry, state: newState(), node: 'cdh1', vtep: { ip: '192.0.2.1', port: 4789 }, ttlSeconds: 25 },
      ...{ instanceId: 'i', hostId: 'h', logger, onLive, onContact: () => undefined },
    });
    ends.push(() => session.close());
    await session.start();
    expect(create).toHaveBeenCalledWith('vtepd cdh1', 12);
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
