/** The young generation stays small, and Node.js takes the flag without a word. */
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { expect, it } from 'vitest';

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

async function youngBytes(mode: 'small' | 'usual'): Promise<number> {
  const module = fileURLToPath(new URL('../../dist/control/small-heap.js', import.meta.url));
  const { stdout, stderr } = await execa(process.execPath, ['--input-type=module', '-e', PROGRAM, mode, module]);
  expect(stderr).toBe('');
  return Number(stdout);
}

it('keeps the young generation small', async () => {
  expect((await youngBytes('small')) * 3).toBeLessThan(await youngBytes('usual'));
});
