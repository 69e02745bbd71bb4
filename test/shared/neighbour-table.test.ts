/** The neighbour table against a Map, with colliding keys and round its end; both families; a reader beside a change. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  FAMILY_IPV6,
  NEIGHBOUR_FLAG_ROUTER,
  NEIGHBOUR_GATEWAY,
  NEIGHBOUR_HEADER_WORDS,
  NEIGHBOUR_LOCAL,
  NEIGHBOUR_MISS,
  NEIGHBOUR_REMOTE,
  NEIGHBOUR_SEQUENCE_WORD,
  NEIGHBOUR_SLOT_WORDS,
  NEIGHBOUR_VALUE_WORD,
  NeighbourTable,
  neighbourBytes,
  neighbourScope,
} from '../../src/shared/neighbour-table.js';
import { type Neighbour, NeighbourWriter } from '../../src/shared/writers/neighbour-writer.js';
import { readInt32 } from '../../src/wire/byte-order.js';
import { formatIp, parseIp } from '../../src/wire/ip-address.js';

const MAC_HIGH16 = 0x0200;

function makeTable(entries = 100) {
  const buffer = new SharedArrayBuffer(neighbourBytes(entries));
  return { reader: new NeighbourTable(buffer), writer: new NeighbourWriter(buffer) };
}

function lookup(reader: NeighbourTable, networkIndex: number, text: string): number {
  const address = parseIp(text);
  if (address.length === 4) return reader.lookupIpv4(networkIndex, readInt32(address, 0));
  const word = (i: number) => readInt32(address, i * 4);
  return reader.lookup(word(0), word(1), word(2), word(3), neighbourScope(networkIndex, FAMILY_IPV6));
}

const neighbour = (macLow: number, kind = NEIGHBOUR_REMOTE, router = false): Neighbour => ({
  ...{ macLow, macHigh16: MAC_HIGH16, kind, router },
});

/** Each entry is reached from its home without a hole between. */
function expectWellFormed(reader: NeighbourTable, writer: NeighbourWriter): void {
  const { words } = reader;
  let count = 0;
  for (let word = NEIGHBOUR_HEADER_WORDS; word < words.length; word += NEIGHBOUR_SLOT_WORDS) {
    if (words[word + NEIGHBOUR_VALUE_WORD] === NEIGHBOUR_MISS) {
      expect([...words.slice(word, word + NEIGHBOUR_SLOT_WORDS)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
      continue;
    }
    count++;
    const [first, second, third, fourth, scope] = words.slice(word, word + 5) as unknown as number[];
    let at = reader.homeWord(first!, second!, third!, fourth!, scope!);
    for (; at !== word; at = reader.nextWord(at)) expect(words[at + NEIGHBOUR_VALUE_WORD]).not.toBe(NEIGHBOUR_MISS);
  }
  expect(writer.count).toBe(count);
  expect((words[NEIGHBOUR_SEQUENCE_WORD] as number) & 1).toBe(0);
}

describe('the neighbour table', () => {
  it('tells networks and families apart, and gives MAC, kind and flags', () => {
    const { reader, writer } = makeTable();
    writer.set(1, parseIp('10.0.0.2'), neighbour(7));
    writer.set(2, parseIp('10.0.0.2'), neighbour(-9, NEIGHBOUR_LOCAL));
    writer.set(1, parseIp('fd00::2'), neighbour(8, NEIGHBOUR_GATEWAY, true));
    // The same 32 bits as 10.0.0.2, in the other family.
    writer.set(1, parseIp('::a00:2'), { ...neighbour(10), macHigh16: 0xffff });
    expect([lookup(reader, 1, '10.0.0.2'), reader.macHigh16, reader.macLow]).toEqual([NEIGHBOUR_REMOTE, 0x0200, 7]);
    expect([lookup(reader, 2, '10.0.0.2'), reader.macLow]).toEqual([NEIGHBOUR_LOCAL, -9]);
    expect(lookup(reader, 1, 'fd00::2')).toBe(NEIGHBOUR_GATEWAY | NEIGHBOUR_FLAG_ROUTER);
    expect([lookup(reader, 1, '::a00:2'), reader.macHigh16, reader.macLow]).toEqual([NEIGHBOUR_REMOTE, 0xffff, 10]);
    for (const [network, text] of [
      [3, '10.0.0.2'],
      [1, '10.0.0.3'],
      [2, 'fd00::2'],
      [1, 'fd00:0:0:1::2'],
    ] as const) {
      expect(lookup(reader, network, text)).toBe(NEIGHBOUR_MISS);
    }
    expect(writer.get(1, parseIp('fd00::2'))).toEqual(neighbour(8, NEIGHBOUR_GATEWAY, true));
    expect(writer.get(1, parseIp('fd00::3'))).toBeUndefined();
  });

  it('agrees with a Map through any series of sets and removals, nearly full, round its end', () => {
    const addresses = Array.from({ length: 10 }, (_, i) => [`10.0.0.${i}`, `fd00::${i + 1}`]).flat();
    const step = fc.record({
      network: fc.integer({ min: 1, max: 2 }),
      address: fc.constantFrom(...addresses),
      macLow: fc.integer(),
      kind: fc.constantFrom(NEIGHBOUR_REMOTE, NEIGHBOUR_LOCAL, NEIGHBOUR_GATEWAY),
      router: fc.boolean(),
      remove: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        // 16 slots, at most 12 of them used: every probe sequence collides and wraps.
        const { reader, writer } = makeTable(12);
        const model = new Map<string, Neighbour>();
        for (const { network, address, remove, ...rest } of steps) {
          const key = `${network} ${address}`;
          const entry = { ...rest, macHigh16: MAC_HIGH16 };
          if (remove) expect(writer.remove(network, parseIp(address))).toBe(model.delete(key));
          else if (writer.set(network, parseIp(address), entry)) model.set(key, entry);
          else expect([model.size, model.has(key)]).toEqual([writer.entriesMax, false]);
        }
        for (const network of [1, 2]) {
          for (const address of addresses) {
            const { kind = 0, router = false, macLow } = model.get(`${network} ${address}`) ?? {};
            expect(lookup(reader, network, address)).toBe(kind | (router ? NEIGHBOUR_FLAG_ROUTER : 0));
            if (kind !== 0) expect(reader.macLow).toBe(macLow);
          }
        }
        const seen = new Map<string, Neighbour>();
        writer.forEach((network, address, entry) => {
          seen.set(`${network} ${formatIp(address)}`, entry);
        });
        expect(seen).toEqual(model);
        expectWellFormed(reader, writer);
        for (const key of model.keys()) {
          const [network, address] = key.split(' ') as [string, string];
          writer.remove(Number(network), parseIp(address));
        }
        expect(writer.count).toBe(0);
      }),
      { numRuns: 200 },
    );
  });

  it('refuses what is beyond its size and takes more again when something has gone', () => {
    const { writer } = makeTable(12);
    expect(writer.entriesMax).toBe(12);
    for (let i = 0; i < 12; i++) expect(writer.set(1, Uint8Array.of(10, 0, 0, i), neighbour(i))).toBe(true);
    expect(writer.set(1, Uint8Array.of(10, 0, 0, 12), neighbour(12))).toBe(false);
    expect(writer.set(1, Uint8Array.of(10, 0, 0, 3), neighbour(99))).toBe(true);
    writer.remove(1, Uint8Array.of(10, 0, 0, 5));
    expect(writer.set(1, Uint8Array.of(10, 0, 0, 12), neighbour(12))).toBe(true);
  });

  it('says "not known" while a change does not end, and finds the entry after it', () => {
    const { reader, writer } = makeTable();
    writer.set(1, parseIp('10.0.0.2'), neighbour(7));
    Atomics.add(reader.words, NEIGHBOUR_SEQUENCE_WORD, 1);
    expect(lookup(reader, 1, '10.0.0.2')).toBe(NEIGHBOUR_MISS);
    Atomics.add(reader.words, NEIGHBOUR_SEQUENCE_WORD, 1);
    expect(lookup(reader, 1, '10.0.0.2')).toBe(NEIGHBOUR_REMOTE);
  });

  it('holds as many as it was asked for', () => {
    for (const entries of [1, 16, 1000, 100_000]) {
      const bytes = neighbourBytes(entries);
      expect(new NeighbourWriter(new SharedArrayBuffer(bytes)).entriesMax).toBeGreaterThanOrEqual(entries);
    }
  });
});
