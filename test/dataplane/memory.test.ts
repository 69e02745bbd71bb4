/** docs/shared-memory.md derives every size that is allocated at start: each sum must hold, and be what the code takes. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { Arena } from '../../src/dataplane/arena.js';
import { STORM_WORDS } from '../../src/dataplane/storm-control.js';
import { fdbBytes } from '../../src/shared/fdb.js';
import { neighbourBytes } from '../../src/shared/neighbour-table.js';
import { allocateTables } from '../../src/shared/tables.js';

const DOC = readFileSync(new URL('../../docs/shared-memory.md', import.meta.url), 'utf8');
const SENDING_SOCKETS = 8;
const WARM_UP_FDB_ENTRIES = 16;

interface Row {
  part: string;
  derivation: string;
  bytes: number;
}

/** Rows of the tables that have a derivation. */
function derivations(): Row[] {
  return DOC.split('\n').flatMap((line) => {
    const match = /^\| ([^|]+) \| ([\d,+×/^() ]+) \| ([\d,]+) \|/.exec(line);
    return match === null ? [] : [{ part: match[1]!, derivation: match[2]!, bytes: toNumber(match[3]!) }];
  });
}

const toNumber = (text: string): number => Number(text.replaceAll(',', ''));

/** Sums of products of numbers and of one pair of brackets: all that the doc writes. */
function evaluate(derivation: string): number {
  const flat = derivation.replace(/\(([^)]+)\)/, (_, inner: string) => String(evaluate(inner)));
  return flat.split('+').reduce((sum, product) => {
    const [first, ...divisors] = product.split('/');
    const value = first!.split('×').reduce((result, factor) => result * power(factor), 1);
    return sum + divisors.reduce((result, divisor) => result / toNumber(divisor), value);
  }, 0);
}

function power(factor: string): number {
  const [base, exponent] = factor.split('^');
  return exponent === undefined ? toNumber(base!) : toNumber(base!) ** toNumber(exponent);
}

const rows = derivations();
const bytesOf = (part: string): number => rows.find((row) => row.part.startsWith(part))?.bytes ?? Number.NaN;

it('each derivation gives its figure, and each total is the sum of its table', () => {
  expect(rows.length).toBeGreaterThan(20);
  expect(rows.filter(({ derivation, bytes }) => evaluate(derivation) !== bytes)).toEqual([]);
  let sum = 0;
  for (const { part, bytes } of rows) {
    if (part === 'all of these') expect(bytes).toBe(sum);
    sum = part === 'all of these' ? 0 : sum + bytes;
  }
});

it('the tables take what the doc says', () => {
  const tables = allocateTables(1);
  expect({
    fdb: tables.fdb.byteLength,
    vnis: tables.vnis.byteLength,
    networks: tables.networks.byteLength,
    membership: tables.membership.byteLength,
    vteps: tables.vteps.byteLength,
    neighbours: tables.neighbours.byteLength,
    epoch: tables.epoch.byteLength,
    counters: tables.counters[0]?.byteLength,
    events: tables.events[0]?.byteLength,
  }).toEqual({
    fdb: bytesOf('FDB'),
    vnis: bytesOf('VNI index'),
    networks: bytesOf('networks'),
    membership: bytesOf('membership'),
    vteps: bytesOf('VTEPs'),
    neighbours: bytesOf('neighbours'),
    epoch: bytesOf('epoch'),
    counters: bytesOf('counters'),
    events: bytesOf('event ring'),
  });
  const warmUp = Object.values(allocateTables(1, WARM_UP_FDB_ENTRIES)).flat() as SharedArrayBuffer[];
  expect(warmUp.reduce((sum, { byteLength }) => sum + byteLength, 0)).toBe(bytesOf('tables of the warm-up'));
  for (const entries of [1_000_000, 4_000_000]) {
    expect(DOC).toContain(fdbBytes(entries).toLocaleString('en-US'));
    expect(DOC).toContain(neighbourBytes(entries).toLocaleString('en-US'));
  }
  expect(STORM_WORDS * 4).toBe(bytesOf('storm control'));
});

it.runIf(process.arch === 'x64')('so does the arena, part by part', () => {
  const arena = new Arena(SENDING_SOCKETS, false);
  expect({
    tapArea: arena.headerBlocks - arena.tapArea,
    headerBlocks: arena.rxSlots - arena.headerBlocks,
    rxSlots: arena.rxHeaders - arena.rxSlots,
    rxMessages: arena.txHeaders - arena.rxHeaders,
    txMessages: arena.txIovecs - arena.txHeaders,
    txIovecs: arena.retryHeader - arena.txIovecs,
    retry: arena.tapIovecs - arena.retryHeader,
    tapIovecs: arena.plainVirtio - arena.tapIovecs,
    virtio: arena.epollEvents - arena.plainVirtio,
    epoll: arena.headerMasks - arena.epollEvents,
    pages: arena.memory.buffer.byteLength,
  }).toEqual({
    tapArea: bytesOf('TAP area'),
    headerBlocks: bytesOf('header blocks'),
    rxSlots: bytesOf('receive slots'),
    rxMessages: bytesOf('receive messages'),
    txMessages: bytesOf('send messages'),
    txIovecs: bytesOf('send iovecs'),
    retry: bytesOf('message that is sent again'),
    tapIovecs: bytesOf('iovecs of one write'),
    virtio: bytesOf('virtio header apart'),
    epoll: bytesOf('epoll events'),
    pages: bytesOf('packet arena'),
  });
  const parts = rows.at(-1)!.bytes;
  expect(arena.answer - arena.headerMasks).toBe(bytesOf('header masks'));
  expect(arena.answer + bytesOf('answer to a request')).toBe(parts);
  expect(Math.ceil(parts / 65_536) * 65_536).toBe(bytesOf('packet arena'));
});
