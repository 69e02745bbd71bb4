/** The other shared tables: VTEPs, networks, members, events, epoch, counters. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  COUNTER_BYTES,
  Counters,
  DROP_COUNTERS_START,
  NETWORK_COUNTERS,
  TRAFFIC_COUNTERS,
} from '../../src/shared/counters.js';
import { DROP_CAUSES } from '../../src/shared/drop-causes.js';
import { EPOCH_BYTES, OBSERVED_WORD, STATE_WORD, WORKER_RUNNING, workerLine } from '../../src/shared/epoch.js';
import { EVENT_LEARN, EVENT_RING_BYTES, EventRing } from '../../src/shared/event-ring.js';
import { FloodList, MEMBERSHIP_BYTES } from '../../src/shared/flood-list.js';
import { EVENTS_MAX, NETWORKS_MAX, VTEPS_MAX } from '../../src/shared/layout.js';
import { NETWORK_BYTES, NETWORK_FLAG_LEARNING, NetworkTable, VNI_INDEX_BYTES } from '../../src/shared/network-table.js';
import { VTEP_BYTES, VTEP_MISS, VTEP_SOCKADDR_BYTES_WORD, VtepTable } from '../../src/shared/vtep-table.js';
import { EpochWriter } from '../../src/shared/writers/epoch-writer.js';
import { NetworkWriter } from '../../src/shared/writers/network-writer.js';
import { VtepWriter } from '../../src/shared/writers/vtep-writer.js';

type Table = { writer: VtepWriter; find: (address: readonly number[]) => number; bytes: Uint8Array };

function vtepTable(): Table {
  const buffer = new SharedArrayBuffer(VTEP_BYTES);
  const reader = new VtepTable(buffer);
  const find = (address: readonly number[]) => {
    const words = new Int32Array(Uint8Array.from(address).buffer);
    if (words.length === 1) return reader.indexOfSource(words[0]!);
    return reader.indexOfSource6(words[0]!, words[1]!, words[2]!, words[3]!);
  };
  return { writer: new VtepWriter(buffer), find, bytes: new Uint8Array(buffer) };
}

describe('VTEP table', () => {
  // Few addresses, so that they come back; of IPv6 some that differ in one word only.
  const ipv4 = fc.tuple(fc.constant(192), fc.constant(0), fc.nat(1), fc.nat(24));
  const ipv6 = fc
    .tuple(fc.nat(3), fc.nat(12))
    .map(([word, value]) => Array.from({ length: 16 }, (_, i) => (i === word * 4 + 3 ? value : i === 0 ? 0x20 : 0)));
  const address = fc.oneof(ipv4 as fc.Arbitrary<number[]>, ipv6);
  const step = fc.oneof(
    fc.record({ add: address }),
    fc.record({ source: address, row: fc.nat(40) }),
    fc.record({ clear: fc.constantFrom(4 as const, 6 as const), row: fc.nat(40) }),
    fc.record({ remove: fc.nat(40) }),
  );

  it('finds each address for the row that got it last, through any series of changes', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 150 }), fc.array(address, { maxLength: 40 }), (steps, asked) => {
        const { writer, find } = vtepTable();
        const rows: number[] = [];
        /** By address. */
        const owners = new Map<string, number>();
        const drop = (row: number, family?: number) => {
          for (const [key, owner] of owners) {
            const isOf = family === undefined || key.split('.').length === (family === 4 ? 4 : 16);
            if (owner === row && isOf) owners.delete(key);
          }
        };
        for (const now of steps) {
          if ('add' in now) {
            const row = writer.add(Uint8Array.from(now.add), 4789);
            expect(rows).not.toContain(row);
            rows.push(row);
            owners.set(now.add.join('.'), row);
            continue;
          }
          if (rows.length === 0) continue;
          if ('source' in now) {
            const row = rows[now.row % rows.length]!;
            writer.setSource(row, Uint8Array.from(now.source));
            drop(row, now.source.length === 4 ? 4 : 6);
            owners.set(now.source.join('.'), row);
          } else if ('clear' in now) {
            const row = rows[now.row % rows.length]!;
            writer.clearSource(row, now.clear);
            drop(row, now.clear);
          } else {
            const [row] = rows.splice(now.remove % rows.length, 1);
            writer.unpublish(row!);
            writer.release(row!);
            drop(row!);
          }
        }
        const all = [...asked, ...[...owners.keys()].map((key) => key.split('.').map(Number))];
        for (const one of all) expect(find(one)).toBe(owners.get(one.join('.')) ?? VTEP_MISS);
      }),
      { numRuns: 200 },
    );
  });

  it.each([
    [4, (i: number) => [10, i >> 8, i & 0xff, 1]],
    [6, (i: number) => [0x20, 1, 0x0d, 0xb8, ...Array<number>(10).fill(0), i >> 8, i & 0xff]],
  ])('of IPv%i is found entry by entry when it is full, and after every other one is gone', (_, nth) => {
    const { writer, find } = vtepTable();
    const indices = Array.from({ length: VTEPS_MAX }, (_, i) => writer.add(Uint8Array.from(nth(i)), 4789));
    expect(writer.add(Uint8Array.from(nth(VTEPS_MAX)), 4789)).toBe(-1);
    const wrong = (expected: (i: number) => number) => indices.filter((_, i) => find(nth(i)) !== expected(i)).length;
    expect(wrong((i) => indices[i]!)).toBe(0);
    for (let i = 0; i < VTEPS_MAX; i += 2) writer.unpublish(indices[i]!);
    expect(wrong((i) => (i % 2 === 0 ? VTEP_MISS : indices[i]!))).toBe(0);
  });

  it('holds a socket address that the kernel can use as it is', () => {
    const { writer, bytes } = vtepTable();
    const words = new Int32Array(bytes.buffer);
    const index = writer.add(Uint8Array.of(192, 0, 2, 7), 4789);
    const row = bytes.subarray(64 + index * 64);
    expect([...row.subarray(0, 16)]).toEqual([2, 0, 0x12, 0xb5, 192, 0, 2, 7, 0, 0, 0, 0, 0, 0, 0, 0]);
    expect(words[16 + index * 16 + VTEP_SOCKADDR_BYTES_WORD]).toBe(16);
    writer.unpublish(index);
    writer.release(index);
    const ip = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    expect(writer.add(Uint8Array.from(ip), 4790)).toBe(index);
    expect([...row.subarray(0, 28)]).toEqual([10, 0, 0x12, 0xb6, 0, 0, 0, 0, ...ip, 0, 0, 0, 0]);
    expect(words[16 + index * 16 + VTEP_SOCKADDR_BYTES_WORD]).toBe(28);
  });
});

describe('network table and flood list', () => {
  it('publishes, unpublishes and gives the index to the next network, clean', () => {
    const rows = new SharedArrayBuffer(NETWORK_BYTES);
    const vnis = new SharedArrayBuffer(VNI_INDEX_BYTES);
    const membership = new SharedArrayBuffer(MEMBERSHIP_BYTES);
    const writer = new NetworkWriter(rows, vnis, membership);
    const reader = new NetworkTable(rows, vnis);
    const members = new FloodList(membership);
    const index = writer.reserve();
    expect(index).toBe(1);
    writer.publish(index, { vni: 0xffffff, tapFds: [42, 43], mtuBytes: 1450, learning: true });
    writer.addMember(index, 33);
    expect(reader.indexOf(0xffffff)).toBe(index);
    expect(reader.vni(index)).toBe(0xffffff);
    expect([reader.tapFd(index, 0), reader.tapFd(index, 1)]).toEqual([42, 43]);
    expect(reader.flags(index)).toBe(NETWORK_FLAG_LEARNING);
    expect([members.has(index, 33), members.has(index, 32), members.word(index, 1)]).toEqual([true, false, 2]);
    writer.unpublish(0xffffff);
    expect(reader.indexOf(0xffffff)).toBe(0);
    expect([reader.tapFd(index, 0), reader.tapFd(index, 1)]).toEqual([42, 43]);
    writer.release(index);
    expect(writer.reserve()).toBe(index);
    expect(members.has(index, 33)).toBe(false);
  });

  it('says so when it is full', () => {
    const make = (bytes: number) => new SharedArrayBuffer(bytes);
    const writer = new NetworkWriter(make(NETWORK_BYTES), make(VNI_INDEX_BYTES), make(MEMBERSHIP_BYTES));
    for (let i = 1; i < NETWORKS_MAX; i++) expect(writer.reserve()).toBe(i);
    expect(writer.reserve()).toBe(0);
  });

  it('changes one member bit and no other', () => {
    const membership = new SharedArrayBuffer(MEMBERSHIP_BYTES);
    const make = (bytes: number) => new SharedArrayBuffer(bytes);
    const writer = new NetworkWriter(make(NETWORK_BYTES), make(VNI_INDEX_BYTES), membership);
    const members = new FloodList(membership);
    for (const vtep of [0, 31, 32, 4095]) writer.addMember(5, vtep);
    writer.removeMember(5, 31);
    expect([0, 31, 32, 4095].map((vtep) => members.has(5, vtep))).toEqual([true, false, true, true]);
    expect(members.has(4, 4095) || members.has(6, 0)).toBe(false);
  });
});

describe('event ring', () => {
  it('hands over every event in order, also around its end, and refuses when full', () => {
    const buffer = new SharedArrayBuffer(EVENT_RING_BYTES);
    const producer = new EventRing(buffer);
    const consumer = new EventRing(buffer);
    // The counts are about to overflow int32: the arithmetic is modulo 2^32.
    producer.words[0] = 0x7fffffff - 10;
    producer.words[8] = 0x7fffffff - 10;
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < EVENTS_MAX; i++) expect(producer.push(EVENT_LEARN, round, i, i & 0xffff, 3)).toBe(true);
      expect(producer.push(EVENT_LEARN, round, 0, 0, 0)).toBe(false);
      let next = 0;
      const count = consumer.drain((type, network, low, _high, vtep) => {
        expect([type, network, low, vtep]).toEqual([EVENT_LEARN, round, next++, 3]);
      });
      expect(count).toBe(EVENTS_MAX);
    }
    expect(consumer.drain(() => expect.unreachable())).toBe(0);
  });

  it('asks for a wake-up only when the consumer had taken everything', () => {
    const ring = new EventRing(new SharedArrayBuffer(EVENT_RING_BYTES));
    ring.push(EVENT_LEARN, 1, 2, 3, 4);
    expect(ring.needsWake()).toBe(true);
    ring.push(EVENT_LEARN, 1, 2, 3, 4);
    expect(ring.needsWake()).toBe(false);
    expect(ring.drain(() => {})).toBe(2);
    ring.push(EVENT_LEARN, 1, 2, 3, 4);
    expect(ring.needsWake()).toBe(true);
  });
});

describe('epoch', () => {
  it('waits for every running worker and for no other', async () => {
    const buffer = new SharedArrayBuffer(EPOCH_BYTES);
    const words = new Int32Array(buffer);
    let wakes = 0;
    const writer = new EpochWriter(buffer, 2, () => wakes++);
    await writer.quiesce();
    Atomics.store(words, workerLine(0) + STATE_WORD, WORKER_RUNNING);
    let done = false;
    const waiting = writer.quiesce().then(() => {
      done = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 250));
    expect(done).toBe(false);
    Atomics.store(words, workerLine(0) + OBSERVED_WORD, Atomics.load(words, 0));
    await waiting;
    expect(wakes).toBe(2);
  });
});

describe('counters', () => {
  it('has room for every traffic counter and drop cause, ids in step with their place', () => {
    expect(TRAFFIC_COUNTERS.length).toBeLessThanOrEqual(DROP_COUNTERS_START);
    expect(DROP_CAUSES.length).toBeLessThanOrEqual(NETWORK_COUNTERS - DROP_COUNTERS_START);
    expect(DROP_CAUSES.map((cause) => cause.id)).toEqual(DROP_CAUSES.map((_, i) => i));
    expect(new Set(DROP_CAUSES.map((cause) => cause.name)).size).toBe(DROP_CAUSES.length);
  });

  it('counts past 2^32', () => {
    const counters = new Counters(new SharedArrayBuffer(COUNTER_BYTES));
    counters.add(3, 1, 2 ** 40);
    counters.add(3, 1, 1);
    expect(counters.cells[3 * NETWORK_COUNTERS + 1]).toBe(2 ** 40 + 1);
  });
});
