/** The local copy's own promises: an identity that stays, and snapshots that are written sparingly and never lost. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { RegistryEntry } from '../../src/control/registry/registry.js';
import { LocalState } from '../../src/control/state/local-state.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vtct-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

const listing = (count: number): RegistryEntry[] =>
  Array.from({ length: count }, (_, i) => ({ key: `nodes/${i}`, value: '{}', createIndex: 1, modifyIndex: count }));

it('makes the identity of the host once', async () => {
  const state = new LocalState(directory);
  const id = await state.hostId();
  expect(id).toMatch(/^[0-9a-f]{32}$/);
  expect(await state.hostId()).toBe(id);
  await state.close();
  const again = new LocalState(directory);
  expect(await again.hostId()).toBe(id);
  await again.close();
});

it('answers the newest snapshot at once, writes a burst of them once a second, and the last when it closes', async () => {
  const state = new LocalState(directory);
  const put = vi.spyOn((state as unknown as { database: { put(): Promise<unknown> } }).database, 'put');
  for (let count = 1; count <= 50; count++) {
    state.saveSnapshot('nodes/', listing(count));
    expect(state.snapshot('nodes/')).toHaveLength(count);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  expect(put.mock.calls.length).toBeLessThanOrEqual(2);
  await vi.waitFor(() => expect(put.mock.calls.length).toBeGreaterThanOrEqual(2), { timeout: 5000 });
  state.saveSnapshot('nodes/', listing(51));
  state.saveSnapshot('peers/', listing(1));
  state.removeSnapshot('peers/');
  await state.close();
  const again = new LocalState(directory);
  expect(again.snapshot('nodes/')).toHaveLength(51);
  expect(again.snapshot('peers/')).toEqual([]);
  await again.close();
});
