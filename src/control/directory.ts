/**
 * Makes directories on the way to a path. Control plane, cold.
 *
 * Not mkdir({ recursive: true }): on a file system that answers ENOENT to every mkdir, such as /proc, it never returns.
 */
import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/** @param mode of each directory that is made, less the umask. @throws the errno error of mkdir(2) or stat(2) */
export async function makeDirectory(path: string, mode: number): Promise<void> {
  try {
    await mkdir(path, { mode });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' && (await stat(path)).isDirectory()) return;
    const parent = dirname(path);
    if (code !== 'ENOENT' || parent === path || (await exists(parent))) throw error;
    await makeDirectory(parent, mode);
    await mkdir(path, { mode });
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
