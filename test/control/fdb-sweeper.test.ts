/** Walks over the FDB in steps: what goes and what stays, one walk at a time, and the event loop between the steps. */
import { setImmediate } from 'node:timers/promises';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { FdbSweeper, SWEEP_SLOTS } from '../../src/control/fdb-sweeper.js';
import { FDB_MISS, fdbBytes, fdbKeyHigh, KIND_DYNAMIC, KIND_LOCAL, KIND_STATIC } from '../../src/shared/fdb.js';
import { FdbWriter } from '../../src/shared/writers/fdb-writer.js';

const ENTRIES = 20_000;
const GONE = 1;
const OTHER = 2;

let fdb: FdbWriter;
let sweeper: FdbSweeper;

beforeEach(() => {
  fdb = new FdbWriter(new SharedArrayBuffer(fdbBytes(ENTRIES)));
  sweeper = new FdbSweeper(fdb);
});

function fill(networkIndex: number, count: number, kind: number, vtepIndex: number, seconds = 0): void {
  for (let mac = 0; mac < count; mac++) fdb.set(mac, fdbKeyHigh(kind, networkIndex), kind, vtepIndex, seconds);
}

function countOf(networkIndex: number): number {
  let count = 0;
  fdb.forEach((_low, keyHigh) => {
    if ((keyHigh & 0xffff) === networkIndex) count++;
  });
  return count;
}

describe('a network', () => {
  it('loses every entry, of each kind, and no other network does', async () => {
    for (const kind of [KIND_LOCAL, KIND_STATIC, KIND_DYNAMIC]) fill(GONE, 3000, kind, 1);
    fill(OTHER, 3000, KIND_DYNAMIC, 1);
    await sweeper.removeNetwork(GONE);
    expect([countOf(GONE), countOf(OTHER)]).toEqual([0, 3000]);
  });

  it('is walked over in steps, and the event loop turns between them', async () => {
    fill(GONE, 10_000, KIND_STATIC, 1);
    let ended = false;
    const walk = sweeper.removeNetwork(GONE).then(() => {
      ended = true;
    });
    const counts: number[] = [];
    for (; !ended; await setImmediate()) counts.push(fdb.count);
    await walk;
    expect(counts.length).toBeGreaterThanOrEqual(Math.floor((ENTRIES * 1.25) / SWEEP_SLOTS));
    const steps = counts.map((count, i) => (i === 0 ? 0 : (counts[i - 1] as number) - count));
    expect(Math.max(...steps)).toBeLessThanOrEqual(SWEEP_SLOTS);
    expect(countOf(GONE)).toBe(0);
  });
});

describe('what was learnt from a VTEP', () => {
  it('goes on that network only; what is registered stays', async () => {
    fill(GONE, 500, KIND_DYNAMIC, 7);
    fill(OTHER, 500, KIND_DYNAMIC, 7);
    fdb.set(1_000_001, fdbKeyHigh(1, GONE), KIND_DYNAMIC, 8, 0);
    fdb.set(1_000_002, fdbKeyHigh(1, GONE), KIND_STATIC, 7, 0);
    await sweeper.removeLearnt(GONE, 7);
    expect([countOf(GONE), countOf(OTHER)]).toEqual([2, 500]);
    expect(fdb.get(1_000_001, fdbKeyHigh(1, GONE))).not.toBe(FDB_MISS);
    expect(fdb.get(1_000_002, fdbKeyHigh(1, GONE))).not.toBe(FDB_MISS);
  });

  it('costs no walk where nothing has been learnt', async () => {
    const walks = vi.spyOn(fdb, 'removeWhereSliced');
    fill(GONE, 500, KIND_STATIC, 7);
    await sweeper.removeLearnt(GONE, 7);
    expect(walks).not.toHaveBeenCalled();
    expect(fdb.dynamicCount).toBe(0);
  });
});

describe('walks', () => {
  it('take together what is condemned together, and go one after the other', async () => {
    const walks = vi.spyOn(fdb, 'removeWhereSliced');
    const slices = vi.spyOn(fdb, 'removeIdleSlice');
    for (let network = 1; network <= 4; network++) fill(network, 2000, KIND_DYNAMIC, network, 10);
    const first = [sweeper.removeNetwork(1), sweeper.removeLearnt(2, 2)];
    await setImmediate();
    expect(walks).toHaveBeenCalledTimes(1);
    sweeper.removeIdle(5);
    sweeper.removeIdle(5);
    const second = sweeper.removeNetwork(3);
    await Promise.all(first);
    expect([countOf(1), countOf(2), countOf(3)]).toEqual([0, 0, 2000]);
    await second;
    expect(walks).toHaveBeenCalledTimes(2);
    expect(slices.mock.results.filter(({ value }) => value === true)).toHaveLength(1);
    expect([countOf(3), countOf(4)]).toEqual([0, 2000]);
    const lastSlice = slices.mock.invocationCallOrder.at(-1) as number;
    expect(walks.mock.invocationCallOrder[1]).toBeGreaterThan(lastSlice);
  });

  it('end what is idle, as often as they are asked for', async () => {
    fill(GONE, 3000, KIND_DYNAMIC, 1, 10);
    fill(OTHER, 3000, KIND_STATIC, 1, 10);
    sweeper.removeIdle(10);
    await sweeper.idle;
    expect(countOf(GONE)).toBe(3000);
    sweeper.removeIdle(11);
    await sweeper.idle;
    expect([countOf(GONE), countOf(OTHER)]).toEqual([0, 3000]);
    expect(fdb.dynamicCount).toBe(0);
  });
});
