/** The version of this build, read once from package.json. Any thread, both executables. */
import { existsSync, readFileSync } from 'node:fs';

/** The nearest one above: src, dist and what tests and benchmarks are compiled to are not equally deep. */
function manifest(): URL {
  let folder = new URL('../', import.meta.url);
  while (!existsSync(new URL('package.json', folder))) {
    const parent = new URL('../', folder);
    if (parent.href === folder.href) throw new Error('no package.json above the program');
    folder = parent;
  }
  return new URL('package.json', folder);
}

const packageJson: unknown = JSON.parse(readFileSync(manifest(), 'utf8'));

export const VERSION: string = String((packageJson as { version?: unknown }).version);
