/**
 * The ACL token for the registry: given as it is, or in a file that is followed, so that a token can be exchanged without
 * a restart and is in no list of processes. Control plane.
 */
import { readFileSync, statSync } from 'node:fs';
import { VtepError } from '../errors.js';

/** What can stand in an HTTP header and in a file's line. */
const TOKEN = /^[\x21-\x7e]+$/;

/** @returns the token of now. @throws VtepError VTEP_ERR_INVALID for a file without one; it never repeats the content. */
export function openToken(given: { token?: string | undefined; file?: string | undefined }): () => string | undefined {
  const { token, file } = given;
  if (file === undefined) return () => token;
  const wrong = (why: string, cause?: unknown) =>
    new VtepError(
      'VTEP_ERR_INVALID',
      `--registry-token-file "${file}" ${why}: give a file that holds the token alone`,
      {
        cause,
      },
    );
  let seen: string;
  let current: string;
  try {
    seen = stamp(file);
    current = readFileSync(file, 'utf8').trim();
  } catch (cause) {
    throw wrong(`can't be read (${(cause as NodeJS.ErrnoException).code ?? String(cause)})`, cause);
  }
  if (current === '') throw wrong('is empty');
  if (!TOKEN.test(current)) throw wrong('holds more than printable ASCII without spaces');
  return () => {
    try {
      const now = stamp(file);
      if (now === seen) return current;
      const text = readFileSync(file, 'utf8').trim();
      // Half-written or emptied: what was right a moment ago is kept, and the file is looked at again.
      if (TOKEN.test(text)) {
        current = text;
        seen = now;
      }
    } catch {
      // Being replaced, or gone: the token that is known stays.
    }
    return current;
  };
}

function stamp(file: string): string {
  const { ino, size, mtimeMs } = statSync(file);
  return `${ino} ${size} ${mtimeMs}`;
}
