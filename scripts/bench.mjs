// Runs the benchmarks of the hot-path modules, compiled to .cache/bench: all, or those whose path holds the argument.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('../.cache/bench/bench/', import.meta.url));
const wanted = process.argv[2] ?? '';
const files = readdirSync(folder, { recursive: true }).filter(
  (file) => file.endsWith('.bench.js') && file.includes(wanted),
);
if (files.length === 0) {
  console.error(`bench: no benchmark's path holds "${wanted}"`);
  process.exit(2);
}
for (const file of files.sort()) {
  const { status } = spawnSync(process.execPath, [join(folder, file)], { stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}
