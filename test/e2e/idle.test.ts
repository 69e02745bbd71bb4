/** Without traffic a worker sleeps in the kernel: it turns once a second and no more, however many networks there are. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createHostPair, type HostPair, waitFor } from './host-pair.js';

const NETWORKS = ['n1', 'n2', 'n3'];
const WINDOW_MS = 4000;
/** One a second (loop.ts, IDLE_MS_MAX), and what a window's ends can add. */
const TURNS_MAX = WINDOW_MS / 1000 + 2;
let pair: HostPair;

beforeAll(async () => {
  pair = await createHostPair();
  for (const network of NETWORKS) {
    await pair.mustVtep('a', 'network', 'create', network);
    await pair.addContainer('a', `a-${network}`, network);
    await pair.addContainer('b', `b-${network}`, network);
    await pair.waitConverged(network);
  }
  // Or they ask for IPv6 routers and report their groups, for a while after they have come up.
  const silence = 'echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6';
  for (const where of ['a', 'b', ...pair.containers.map(({ name }) => name)]) {
    await pair.mustExec(where, 'sh', '-c', silence);
  }
});
afterAll(async () => {
  await pair?.cleanup();
});

it.each(['a', 'b'] as const)('the worker of host %s turns for nothing but its wake-ups', async (host) => {
  const read = async () => {
    const atMs = performance.now();
    const { workers, totals } = (await pair.mustVtep(host, 'status', '--json')).json();
    return { atMs, turns: workers[0].turns as number, frames: totals.encap_frames + totals.decap_frames };
  };
  const quiet: number[] = [];
  // A window with frames tells nothing.
  await waitFor(
    'a window without frames',
    async () => {
      const before = await read();
      await sleep(WINDOW_MS);
      const after = await read();
      // Neither does one that a busy machine has stretched.
      if (after.frames !== before.frames || after.atMs - before.atMs > WINDOW_MS + 500) return false;
      quiet.push(after.turns - before.turns);
      return true;
    },
    50_000,
  );
  expect(quiet[0]).toBeGreaterThan(0);
  expect(quiet[0]).toBeLessThanOrEqual(TURNS_MAX);
});
