/** Both generations stay small, and Node.js takes the flags without a word. */
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { expect, it } from 'vitest';

/** When a collection ends that goes on beside the program hangs on what else the machine does: not here. */
const FLAGS = ['--single-threaded-gc', '--input-type=module'];

/** Garbage as readings of the registry make it. */
const PROGRAM = `
import { getHeapSpaceStatistics } from 'node:v8';
if (process.argv[1] === 'small') (await import(process.argv[2])).keepHeapSmall();
const entries = Array.from({ length: 1000 }, (_, number) => ({ Key: 'nodes/' + number, Value: 'v'.repeat(60) + number }));
let kept;
for (let reading = 0; reading < 300; reading++) kept = JSON.parse(JSON.stringify(entries));
const young = getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space');
console.log(kept.length && young.space_size);
`;

async function bytes(program: string, mode: 'small' | 'usual'): Promise<number> {
  const module = fileURLToPath(new URL('../../dist/control/small-heap.js', import.meta.url));
  const { stdout, stderr } = await execa(process.execPath, [...FLAGS, '-e', program, mode, module]);
  expect(stderr).toBe('');
  return Number(stdout);
}

/** Garbage that has lived for some time, as all that waits for an answer does. */
const OLD_PROGRAM = `
import { getHeapSpaceStatistics } from 'node:v8';
if (process.argv[1] === 'small') (await import(process.argv[2])).keepHeapSmall();
const reading = (number) => Array.from({ length: 1000 }, (_, at) => ({ key: 'nodes/' + at, value: 'v'.repeat(9) + number }));
const live = Array.from({ length: 100 }, (_, number) => reading(number));
const held = [];
let most = 0;
for (let number = 0; number < 1500; number++) {
  held[number % 60] = reading(number);
  const { space_size } = getHeapSpaceStatistics().find(({ space_name }) => space_name === 'old_space');
  if (number > 100) most = Math.max(most, space_size);
}
console.log(live.length && held.length && most);
`;

it('keeps the young generation small', async () => {
  expect((await bytes(PROGRAM, 'small')) * 3).toBeLessThan(await bytes(PROGRAM, 'usual'));
});

it('keeps the old generation near what lives', async () => {
  expect((await bytes(OLD_PROGRAM, 'small')) * 1.5).toBeLessThan(await bytes(OLD_PROGRAM, 'usual'));
});
