/**
 * The local copy's LMDB file: opened with care, written so that a full disk is an error and not the end. Control plane.
 *
 *     state.lmdb         the database
 *     state.opening      there while it is opened and read through for the first time: found at a start, the last one died in it
 *     state.lmdb.bad-N   a database that could not be read, kept for whoever wants to look
 *
 * LMDB maps its file: one that is damaged ends the process by a signal instead of an exception. So a file whose head does not
 * look right, or that the last start died of, is first read by a process of its own. One that fails is set aside, which the
 * caller is told. All writes are synchronous: LMDB's asynchronous ones end the process when the disk is full.
 */
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { open, type RootDatabase } from 'lmdb';
import { VtepError } from '../errors.js';

/** What this version writes; a higher number in the file means that a newer vtepd wrote it. */
export const FORMAT = 1;
const FORMAT_KEY = 'identity/format';
const LMDB_OPTIONS = { encoding: 'json', maxReaders: 16 } as const;

/** struct MDB_meta behind a page's 24 bytes: magic, version, address, mapsize, two struct MDB_db of 48, last page, txnid. */
const META = { magic: 24, pageBytes: 48, lastPage: 144, end: 160 } as const;
const LMDB_MAGIC = 0xbeefc0de;
const PROBE_TIMEOUT_MS = 20_000;
const PROBE = `
  const { open } = (await import('node:module')).createRequire(process.argv[1])(process.argv[1]);
  const database = open({ path: process.argv[2], encoding: 'json', maxReaders: 16 });
  let count = 0;
  for (const { value } of database.getRange({})) if (value !== undefined) count++;
  database.transactionSync(() => { database.put('identity/probed', count); });
  await database.close();`;

export interface OpenedDatabase {
  readonly database: RootDatabase<unknown, string>;
  /** Where an unreadable database of before was put; undefined: there was none. */
  readonly setAside: string | undefined;
}

/** @throws VtepError VTEP_ERR_STATE: written by a newer vtepd, or the directory cannot be used. */
export function openDatabase(directory: string): OpenedDatabase {
  const path = join(directory, 'state.lmdb');
  const marker = join(directory, 'state.opening');
  let database: RootDatabase<unknown, string> | undefined;
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const suspect = existsSync(path) && (existsSync(marker) || !headLooksRight(path));
    const setAside = suspect && !isReadable(path) ? putAside(path) : undefined;
    writeFileSync(marker, '');
    database = open<unknown, string>({ path, ...LMDB_OPTIONS });
    for (const { value } of database.getRange({})) void value;
    checkFormat(database, path);
    rmSync(marker, { force: true });
    return { database, setAside };
  } catch (error) {
    void database?.close();
    if (error instanceof VtepError) {
      rmSync(marker, { force: true });
      throw error;
    }
    throw stateError(directory, 'cannot be opened', error);
  }
}

/** One line for a person of what the file system or LMDB said. */
export function stateError(directory: string, what: string, cause: unknown): VtepError {
  const { code, message } = cause as { code?: string | number; message?: string };
  // LMDB tells a short write as EIO (5): on a healthy disk it means that it is full.
  const full = code === 'ENOSPC' || code === 28 || code === 5 || code === 'EIO';
  const right = full
    ? 'see that the disk has free space ("df") and is well'
    : 'see that it is a directory vtepd can write in';
  return new VtepError('VTEP_ERR_STATE', `the local copy in ${directory} ${what} (${message ?? code}): ${right}`, {
    cause,
  });
}

function checkFormat(database: RootDatabase<unknown, string>, path: string): void {
  const format = database.get(FORMAT_KEY);
  if (format === undefined) {
    database.transactionSync(() => {
      database.put(FORMAT_KEY, FORMAT);
    });
  } else if (typeof format !== 'number' || format > FORMAT) {
    throw new VtepError(
      'VTEP_ERR_STATE',
      `the local copy ${path} has format ${String(format)}, and this vtepd reads ${FORMAT}: start the newer vtepd again, or move the file away to have it made anew from the kernel and the registry`,
    );
  }
}

/** Both meta pages are LMDB's and the file is as long as they say. */
function headLooksRight(path: string): boolean {
  const file = openSync(path, 'r');
  try {
    const { size } = fstatSync(file);
    const first = readMeta(file, 0);
    const second = first && readMeta(file, first.pageBytes);
    if (first === undefined || second === undefined) return false;
    return size >= (Math.max(first.lastPage, second.lastPage) + 1) * first.pageBytes;
  } finally {
    closeSync(file);
  }
}

function readMeta(file: number, at: number): { pageBytes: number; lastPage: number } | undefined {
  const bytes = Buffer.alloc(META.end);
  if (readSync(file, bytes, 0, META.end, at) < META.end || bytes.readUInt32LE(META.magic) !== LMDB_MAGIC) {
    return undefined;
  }
  return { pageBytes: bytes.readUInt32LE(META.pageBytes), lastPage: Number(bytes.readBigUInt64LE(META.lastPage)) };
}

function isReadable(path: string): boolean {
  const args = ['--input-type=module', '-e', PROBE, createRequire(import.meta.url).resolve('lmdb'), path];
  return spawnSync(process.execPath, args, { stdio: 'ignore', timeout: PROBE_TIMEOUT_MS }).status === 0;
}

function putAside(path: string): string {
  let number = 1;
  while (existsSync(`${path}.bad-${number}`)) number++;
  renameSync(path, `${path}.bad-${number}`);
  rmSync(`${path}-lock`, { force: true });
  return `${path}.bad-${number}`;
}
