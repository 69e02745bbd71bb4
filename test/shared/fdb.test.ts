/** The FDB against a Map, with keys that collide; ageing, limits, and a reader beside an unfinished change. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  FDB_BYTES,
  FDB_MISS,
  Fdb,
  fdbHome,
  fdbKeyHigh,
  fdbKind,
  fdbVtep,
  KIND_DYNAMIC,
  KIND_STATIC,
} from '../../src/shared/fdb.js';
import { FDB_ENTRIES_MAX } from '../../src/shared/layout.js';
import { FdbWriter } from '../../src/shared/writers/fdb-writer.js';

function makeFdb() {
  const buffer = new SharedArrayBuffer(FDB_BYTES);
  return { reader: new Fdb(buffer), writer: new FdbWriter(buffer) };
}

/** Keys that fall on few home slots, so that probing and shifting back are really exercised. */
function collidingKeys(count: number): number[] {
  const home = fdbHome(1, 1);
  const keys: number[] = [];
  for (let low = 1; keys.length < count; low++) {
    const distance = (fdbHome(low, 1) - home) & 0x1ffff;
    if (distance < 4) keys.push(low);
  }
  return keys;
}

describe('FDB', () => {
  it('tells the same MAC on two networks apart', () => {
    const { reader, writer } = makeFdb();
    writer.set(0x5e100001, fdbKeyHigh(0x0200, 1), KIND_STATIC, 7, 0);
    writer.set(0x5e100001, fdbKeyHigh(0x0200, 2), KIND_DYNAMIC, 9, 0);
    expect(fdbVtep(reader.lookup(0x5e100001, fdbKeyHigh(0x0200, 1)))).toBe(7);
    expect(fdbVtep(reader.lookup(0x5e100001, fdbKeyHigh(0x0200, 2)))).toBe(9);
    expect(reader.lookup(0x5e100001, fdbKeyHigh(0x0200, 3))).toBe(FDB_MISS);
  });

  it('agrees with a Map through any series of sets and removals, colliding keys included', () => {
    const keys = collidingKeys(24);
    const step = fc.record({
      key: fc.constantFrom(...keys),
      vtep: fc.integer({ min: 0, max: 4095 }),
      kind: fc.constantFrom(KIND_STATIC, KIND_DYNAMIC),
      remove: fc.boolean(),
    });
    const { reader, writer } = makeFdb();
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        writer.removeWhere(() => true);
        const model = new Map<number, number>();
        for (const { key, vtep, kind, remove } of steps) {
          if (remove) expect(writer.remove(key, 1)).toBe(model.delete(key));
          else {
            writer.set(key, 1, kind, vtep, 0);
            model.set(key, (kind << 24) | vtep);
          }
        }
        for (const key of keys) expect(reader.lookup(key, 1)).toBe(model.get(key) ?? FDB_MISS);
        expect(writer.count).toBe(model.size);
        const seen = new Map<number, number>();
        writer.forEach((low, _high, kind, vtep) => {
          seen.set(low, (kind << 24) | vtep);
        });
        expect(seen).toEqual(model);
      }),
      { numRuns: 100 },
    );
  });

  it('ages dynamic entries only, by the last stamp', () => {
    const { reader, writer } = makeFdb();
    writer.set(1, 1, KIND_DYNAMIC, 1, 10);
    writer.set(2, 1, KIND_DYNAMIC, 1, 10);
    writer.set(3, 1, KIND_STATIC, 1, 10);
    reader.lookup(2, 1);
    reader.stamp(400);
    expect(writer.removeIdle(310)).toBe(1);
    expect(reader.lookup(1, 1)).toBe(FDB_MISS);
    expect(fdbKind(reader.lookup(2, 1))).toBe(KIND_DYNAMIC);
    expect(fdbKind(reader.lookup(3, 1))).toBe(KIND_STATIC);
  });

  it('refuses an entry past its limit and still answers', () => {
    const { reader, writer } = makeFdb();
    for (let i = 0; i < FDB_ENTRIES_MAX; i++) expect(writer.set(i, 1, KIND_STATIC, 1, 0)).toBe(true);
    expect(writer.set(-1, 1, KIND_STATIC, 1, 0)).toBe(false);
    expect(writer.set(0, 1, KIND_STATIC, 2, 0)).toBe(true);
    expect(fdbVtep(reader.lookup(0, 1))).toBe(2);
    expect(reader.lookup(-1, 1)).toBe(FDB_MISS);
  });

  it('answers MISS and does not hang while a change never ends', () => {
    const { reader, writer } = makeFdb();
    writer.set(1, 1, KIND_STATIC, 1, 0);
    Atomics.add(reader.words, 0, 1);
    expect(reader.lookup(1, 1)).toBe(FDB_MISS);
    Atomics.add(reader.words, 0, 1);
    expect(reader.lookup(1, 1)).not.toBe(FDB_MISS);
  });
});
