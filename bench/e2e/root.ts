/** The repository's folder: the nearest one above that has a package.json, from the sources and from the compiled files. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

function findRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error('no package.json above the benchmark');
    folder = parent;
  }
  return folder;
}

export const ROOT = findRoot();
