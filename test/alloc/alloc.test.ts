/**
 * The allocation gate: nothing is made for a frame. A million frames a way go through the compiled data plane in a process
 * of their own, whose heap tells what they have left.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { expect, it } from 'vitest';

const FRAMES = fileURLToPath(new URL('./frames.mjs', import.meta.url));
const DIST = fileURLToPath(new URL('../../dist/dataplane/worker.js', import.meta.url));
/** What V8 itself takes while it optimizes. An object a frame, or a number past 2^31, would be 4 MiB and more. */
const HEAP_BYTES_MAX = 512 * 1024;

interface Growth {
  way: string;
  frames: number;
  bytes: number;
  collections: number;
}

it('a million frames leave nothing on the heap, and no garbage is collected', async () => {
  expect(existsSync(DIST), 'dist is built by `npm run build`').toBe(true);
  const sizes = ['--min-semi-space-size=128', '--max-semi-space-size=128'];
  // Without the reducer, which collects what little there is after some seconds of a slow machine.
  const flags = ['--expose-gc', '--no-memory-reducer', ...sizes];
  const { stdout } = await execa(process.execPath, [...flags, FRAMES]);
  const growths = stdout.split('\n').map((line) => JSON.parse(line) as Growth);
  expect(growths).toHaveLength(8);
  expect(growths.filter(({ bytes, collections }) => bytes > HEAP_BYTES_MAX || collections > 0)).toEqual([]);
});
