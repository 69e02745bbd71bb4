/** The FDB against a Map, with keys that collide; ageing, limits, and a reader beside an unfinished change. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  FDB_DEPTH_MASK,
  FDB_DEPTH_SHIFT,
  FDB_HEADER_WORDS,
  FDB_LINE_WORDS,
  FDB_MISS,
  Fdb,
  fdbBytes,
  fdbKeyHigh,
  fdbKind,
  fdbVtep,
  KIND_DYNAMIC,
  KIND_STATIC,
} from '../../src/shared/fdb.js';
import { FdbWriter } from '../../src/shared/writers/fdb-writer.js';

function makeFdb(entries = 1000) {
  const buffer = new SharedArrayBuffer(fdbBytes(entries));
  return { reader: new Fdb(buffer), writer: new FdbWriter(buffer) };
}

/** Keys whose homes are three lines in a row, so that probing, depths and shifting back are really exercised. */
function collidingKeys(fdb: Fdb, count: number): number[] {
  const home = fdb.homeWord(1, 1);
  const keys: number[] = [];
  for (let low = 1; keys.length < count; low++) {
    const distance = fdb.homeWord(low, 1) - home;
    if (distance >= 0 && distance < 3 * FDB_LINE_WORDS) keys.push(low);
  }
  return keys;
}

/** Every first slot's depth is exactly what its line's keys need, and no run has a hole. */
function expectWellFormed(fdb: Fdb, writer: FdbWriter): void {
  const depths = new Map<number, number>();
  const { words } = fdb;
  for (let word = FDB_HEADER_WORDS; word < words.length; word += 4) {
    if (words[word + 2] === 0) continue;
    const home = fdb.homeWord(words[word] as number, words[word + 1] as number);
    for (let before = home; before < word; before += 4) {
      if (words[before + 2] === 0) expect.fail(`a hole at word ${before} before the key at ${word}`);
    }
    depths.set(home, Math.floor((word - home) / FDB_LINE_WORDS));
  }
  let count = 0;
  for (let word = FDB_HEADER_WORDS; word < words.length; word += FDB_LINE_WORDS) {
    const depth = ((words[word + 2] as number) & FDB_DEPTH_MASK) >>> FDB_DEPTH_SHIFT;
    // Not expect() for each of thousands of lines: it costs far more than what it looks at.
    if (depth !== (depths.get(word) ?? 0))
      expect(depth, `depth of the line at word ${word}`).toBe(depths.get(word) ?? 0);
    for (let slot = 0; slot < 4; slot++) if (words[word + 4 * slot + 2] !== 0) count++;
  }
  expect(writer.count).toBe(count);
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
    const { reader, writer } = makeFdb();
    const keys = collidingKeys(reader, 24);
    const step = fc.record({
      key: fc.constantFrom(...keys),
      vtep: fc.integer({ min: 0, max: 4095 }),
      kind: fc.constantFrom(KIND_STATIC, KIND_DYNAMIC),
      remove: fc.boolean(),
    });
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
        expectWellFormed(reader, writer);
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

  it('ages in slices as it ages at once', () => {
    const { reader, writer } = makeFdb();
    for (let key = 0; key < 900; key++) {
      writer.set(key, 1, key % 3 === 0 ? KIND_STATIC : KIND_DYNAMIC, 1, key % 2 === 0 ? 10 : 400);
    }
    let slices = 1;
    while (!writer.removeIdleSlice(310, 100)) slices++;
    expect(slices).toBeGreaterThan(10);
    for (let key = 0; key < 900; key++) {
      expect(reader.lookup(key, 1) !== FDB_MISS).toBe(key % 3 === 0 || key % 2 !== 0);
    }
    expectWellFormed(reader, writer);
    expect(writer.removeIdle(310)).toBe(0);
  });

  it('a removal in slices passes by nothing, whatever goes between them', () => {
    const { reader, writer } = makeFdb(200);
    for (let key = 0; key < 200; key++) writer.set(key, 1 + (key % 2), KIND_STATIC, 1, 0);
    let other = 0;
    for (const _ of writer.removeWhereSliced((keyHigh) => (keyHigh & 0xffff) === 1, 8)) {
      // Moves entries of both networks back.
      for (let i = 0; i < 3; i++, other++) writer.remove(2 * other + 1, 2);
    }
    for (let key = 0; key < 200; key += 2) expect(reader.lookup(key, 1)).toBe(FDB_MISS);
    expectWellFormed(reader, writer);
  });

  it.each([1, 25, 1000, 1001, 100_000])(
    'holds at least %i entries at 20 to 22.5 bytes, and answers when full',
    (entries) => {
      const { reader, writer } = makeFdb(entries);
      expect(writer.entriesMax).toBeGreaterThanOrEqual(entries);
      if (entries >= 1000) expect(fdbBytes(entries) - 17_000).toBeLessThanOrEqual(22.6 * entries);
      for (let i = 0; i < writer.entriesMax; i++) expect(writer.set(i, 1, KIND_STATIC, 1, 0)).toBe(true);
      expect(writer.set(-1, 1, KIND_STATIC, 1, 0)).toBe(false);
      expect(writer.set(0, 1, KIND_STATIC, 2, 0)).toBe(true);
      expect(fdbVtep(reader.lookup(0, 1))).toBe(2);
      expect(reader.lookup(-1, 1)).toBe(FDB_MISS);
      if (entries <= 1001) expectWellFormed(reader, writer);
      expect(writer.removeWhere(() => true)).toBe(writer.entriesMax);
      expect(reader.words.subarray(FDB_HEADER_WORDS).every((word) => word === 0)).toBe(true);
    },
  );

  it('refuses the key whose home is full as far as a look-up goes, and no other', () => {
    const { reader, writer } = makeFdb(10_000);
    const home = reader.homeWord(1, 1);
    const same: number[] = [];
    for (let low = 1; same.length < 1025; low++) if (reader.homeWord(low, 1) === home) same.push(low);
    const taken = same.map((low) => writer.set(low, 1, KIND_STATIC, 7, 0));
    expect(taken).toEqual(same.map((_, i) => i < 1024));
    for (const [i, low] of same.entries()) expect(reader.lookup(low, 1) !== FDB_MISS).toBe(i < 1024);
    const elsewhere = home === reader.homeWord(2, 1) ? 3 : 2;
    expect(writer.set(elsewhere, 2, KIND_STATIC, 7, 0)).toBe(true);
    expect(writer.remove(same[0] as number, 1)).toBe(true);
    expect(writer.set(same[1024] as number, 1, KIND_STATIC, 7, 0)).toBe(true);
    expectWellFormed(reader, writer);
  });

  it.each<[string, (i: number) => [number, number]]>([
    ['sequential MACs', (i) => [i, fdbKeyHigh(0x0242, 1)]],
    ['MACs with the address in them', (i) => [0x0a000000 + i, fdbKeyHigh(0x0242, 1 + (i >>> 8))]],
    ['MACs that count in the fifth byte', (i) => [i << 8, fdbKeyHigh(0x0200, 1)]],
    ['MACs that count in the upper bytes', (i) => [(i & 0xffff) << 16, fdbKeyHigh(0x0200 + 4 * (i >>> 16), 1)]],
    ['few MACs in many networks', (i) => [i >>> 12, fdbKeyHigh(0x0200, i & 4095)]],
    ['random MACs', (i) => [Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(i, i), fdbKeyHigh(0x0200, 1)]],
  ])('spreads a full table of %s: nearly all are in their home line or the next', (_name, key) => {
    const { reader, writer } = makeFdb(200_000);
    let lines = 0;
    let deepest = 0;
    for (let i = 0; i < 200_000; i++) writer.set(...key(i), KIND_STATIC, 1, 0);
    writer.forEach((low, high) => {
      reader.lookup(low, high);
      const depth = (reader.foundWord - reader.homeWord(low, high)) >>> 4;
      lines += 1 + depth;
      deepest = Math.max(deepest, depth);
    });
    expect(lines / writer.count).toBeLessThan(1.6);
    expect(deepest).toBeLessThan(100);
  });

  it('answers MISS and does not hang while a change never ends', () => {
    const { reader, writer } = makeFdb();
    writer.set(1, 1, KIND_STATIC, 1, 0);
    Atomics.add(reader.words, 0, 1);
    expect(reader.lookup(1, 1)).toBe(FDB_MISS);
    Atomics.add(reader.words, 0, 1);
    expect(reader.lookup(1, 1)).not.toBe(FDB_MISS);
  });

  it('counts what is learnt, by network', () => {
    const { writer } = makeFdb();
    const step = fc.record({
      low: fc.integer({ min: 1, max: 9 }),
      network: fc.integer({ min: 1, max: 3 }),
      kind: fc.constantFrom(KIND_STATIC, KIND_DYNAMIC, FDB_MISS),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        writer.removeWhere(() => true);
        const model = new Map<string, { network: number; kind: number }>();
        for (const { low, network, kind } of steps) {
          if (kind === FDB_MISS) writer.remove(low, fdbKeyHigh(2, network));
          else writer.set(low, fdbKeyHigh(2, network), kind, 1, 0);
          model.set(`${low} ${network}`, { network, kind });
        }
        for (const network of [1, 2, 3]) {
          const learnt = [...model.values()].filter((one) => one.network === network && one.kind === KIND_DYNAMIC);
          expect(writer.dynamicCountOf(network)).toBe(learnt.length);
        }
      }),
    );
  });

  it.each([
    ['anywhere', (fdb: Fdb) => Array.from({ length: fdb.words.length }, (_, i) => i + 1)],
    ['in one place', (fdb: Fdb) => collidingKeys(fdb, 4000)],
  ])('takes a registered key in however much is learnt, %s', (_where, keysOf) => {
    const { reader, writer } = makeFdb(3000);
    const keys = keysOf(reader);
    let learnt = 0;
    for (const key of keys) if (writer.set(key, 1, KIND_DYNAMIC, 1, 0)) learnt++;
    expect(learnt).toBeLessThan(keys.length);
    const registered = keys.slice(-Math.floor(learnt / 2)).filter((key) => reader.lookup(key, 1) === FDB_MISS);
    expect(registered.length).toBeGreaterThan(100);
    for (const key of registered) expect(writer.setBefore(key, 1, KIND_STATIC, 2)).toBe(true);
    for (const key of registered) expect(fdbKind(reader.lookup(key, 1))).toBe(KIND_STATIC);
    expectWellFormed(reader, writer);
  });

  it('refuses a registered key only where all others are registered', () => {
    const { reader, writer } = makeFdb(1000);
    let key = 0;
    while (writer.set(++key, 1, KIND_STATIC, 1, 0));
    expect(writer.setBefore(key, 1, KIND_STATIC, 1)).toBe(false);
    writer.set(1, 1, KIND_DYNAMIC, 1, 0);
    expect(writer.setBefore(key, 1, KIND_STATIC, 1)).toBe(true);
    expect(reader.lookup(1, 1)).toBe(FDB_MISS);
  });
});
