/**
 * FDB look-up at three fills, hits in random order and misses; and what an entry costs in memory.
 *
 * A case is 1,000 look-ups of keys drawn beforehand, so that benny's own share does not count. Each case goes on through
 * its key list, which is longer than any cache remembers.
 */
import benny from 'benny';
import { Fdb, fdbBytes, fdbKeyHigh, KIND_DYNAMIC, KIND_STATIC } from '../../src/shared/fdb.js';
import { FDB_ENTRIES_DEFAULT } from '../../src/shared/layout.js';
import { FdbWriter } from '../../src/shared/writers/fdb-writer.js';

const LOOKUPS = 1000;
const KEYS = 1 << 20;
const NETWORKS = 64;
const SLICE_SLOTS = 4096;

let seed = 1;
/** Marsaglia's xorshift32. */
function random(below: number): number {
  seed ^= seed << 13;
  seed ^= seed >>> 17;
  seed ^= seed << 5;
  return (seed >>> 0) % below;
}

/** Entry `i`: a random MAC under 02:42, the networks in turn. Every odd one is there, every even one is not. */
const keyLow = (i: number): number => Math.imul(i, 0x9e3779b1);
const keyHigh = (i: number): number => fdbKeyHigh(0x0242, 1 + ((i >>> 1) % NETWORKS));

function residentBytes(): number {
  return process.memoryUsage().rss;
}

/** A table for less than the default is as large as that one. */
function makeTable(entries: number) {
  const before = residentBytes();
  const buffer = new SharedArrayBuffer(fdbBytes(Math.max(entries, FDB_ENTRIES_DEFAULT)));
  const writer = new FdbWriter(buffer);
  for (let i = 0; i < entries; i++) {
    if (!writer.set(keyLow(2 * i + 1), keyHigh(2 * i + 1), KIND_STATIC, i & 4095, 0))
      throw new Error('the FDB is full');
  }
  const resident = (residentBytes() - before) / entries;
  const size = buffer.byteLength / entries;
  console.log(`${entries} entries: ${size.toFixed(1)} bytes each by size, ${resident.toFixed(1)} resident`);
  return new Fdb(buffer);
}

function drawKeys(entries: number, odd: number) {
  const lows = new Int32Array(KEYS);
  const highs = new Int32Array(KEYS);
  for (let k = 0; k < KEYS; k++) {
    const i = 2 * random(entries) + odd;
    lows[k] = keyLow(i);
    highs[k] = keyHigh(i);
  }
  return { lows, highs };
}

function makeCase(fdb: Fdb, entries: number, odd: number) {
  const { lows, highs } = drawKeys(entries, odd);
  let from = 0;
  let found = 0;
  return () => {
    from = from + LOOKUPS < KEYS ? from + LOOKUPS : 0;
    const to = Math.min(KEYS, from + LOOKUPS);
    for (let k = from; k < to; k++) {
      if (fdb.lookup(lows[k] as number, highs[k] as number) !== 0) found++;
    }
    return found;
  };
}

/** What a walk over the whole table costs the main thread: nothing goes, and then all does. */
function measureWalks(entries: number): void {
  const writer = new FdbWriter(new SharedArrayBuffer(fdbBytes(entries)));
  for (let i = 0; i < entries; i++) writer.set(keyLow(2 * i + 1), keyHigh(2 * i + 1), KIND_DYNAMIC, 1, 10);
  const whole = milliseconds(() => writer.removeIdle(5));
  let longest = 0;
  for (let isEnd = false; !isEnd; ) {
    longest = Math.max(
      longest,
      milliseconds(() => {
        isEnd = writer.removeIdleSlice(20, SLICE_SLOTS);
      }),
    );
  }
  console.log(`${entries} entries: a walk that removes none ${whole.toFixed(1)} ms;`);
  console.log(`  in slices of ${SLICE_SLOTS} slots, all removed, the longest slice ${longest.toFixed(1)} ms`);
}

function milliseconds(work: () => void): number {
  const before = performance.now();
  work();
  return performance.now() - before;
}

// Before anything else has grown the process.
const tables = [1000, 100_000, 1_000_000].map((entries) => ({ entries, fdb: makeTable(entries) }));

measureWalks(1_000_000);

await benny.suite(
  `FDB, ${LOOKUPS} look-ups`,
  ...tables.flatMap(({ entries, fdb }) => [
    benny.add(`hit, ${entries} entries`, () => makeCase(fdb, entries, 1)),
    benny.add(`miss, ${entries} entries`, () => makeCase(fdb, entries, 0)),
  ]),
  benny.complete(({ results }) => {
    for (const { name, details } of results) {
      console.log(`${name}: ${((details.median * 1e9) / LOOKUPS).toFixed(1)} ns a look-up`);
    }
  }),
);
