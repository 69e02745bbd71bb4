/**
 * Rows of VTEPs by their users, of either family and by a second address, and this host's own when its addresses change, as
 * a worker finds them by source address.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { VtepRegistrar } from '../../src/control/vtep-registrar.js';
import { SELF_VTEP } from '../../src/shared/layout.js';
import { VTEP_BYTES, VTEP_MISS, VtepTable } from '../../src/shared/vtep-table.js';
import { VtepWriter } from '../../src/shared/writers/vtep-writer.js';
import { parseIp } from '../../src/wire/ip-address.js';

function registrar() {
  const buffer = new SharedArrayBuffer(VTEP_BYTES);
  const table = new VtepTable(buffer);
  const vteps = new VtepRegistrar(
    new VtepWriter(buffer),
    async () => undefined,
    () => undefined,
  );
  const indexOf = (address: string) => {
    const words = new Int32Array(Uint8Array.from(parseIp(address)).buffer);
    if (words.length === 1) return table.indexOfSource(words[0]!);
    return table.indexOfSource6(words[0]!, words[1]!, words[2]!, words[3]!);
  };
  return { vteps, indexOf };
}

const vtep = (address: string, otherAddress?: string) => ({ address, port: 4789, otherAddress });

it('this host keeps its row under a new address, and its old one may become another host', () => {
  const { vteps, indexOf } = registrar();
  expect(vteps.acquire(vtep('192.0.2.1'))).toBe(SELF_VTEP);
  const other = vteps.acquire(vtep('192.0.2.2'));
  vteps.moveSelf({ ip: '192.0.2.9' });
  expect([indexOf('192.0.2.9'), indexOf('192.0.2.1'), indexOf('192.0.2.2')]).toEqual([SELF_VTEP, VTEP_MISS, other]);
  expect(vteps.acquire(vtep('192.0.2.9'))).toBe(SELF_VTEP);
  const taken = vteps.acquire(vtep('192.0.2.1'));
  expect([taken === SELF_VTEP, indexOf('192.0.2.1') === taken]).toEqual([false, true]);
  expect([...vteps.rows()].map(([index, { address }]) => `${index} ${address}`).sort()).toEqual([
    '0 192.0.2.9',
    `${other} 192.0.2.2`,
    `${taken} 192.0.2.1`,
  ]);
});

it('two hosts that swap their addresses are told apart, also before the other has said so', async () => {
  const { vteps, indexOf } = registrar();
  vteps.acquire(vtep('192.0.2.1'));
  const other = vteps.acquire(vtep('192.0.2.2'));
  vteps.moveSelf({ ip: '192.0.2.2' });
  expect(indexOf('192.0.2.2')).toBe(SELF_VTEP);
  expect(vteps.get(other)?.address).toBe('192.0.2.2');
  const moved = vteps.acquire(vtep('192.0.2.1'));
  vteps.release(other);
  await Promise.resolve();
  expect([indexOf('192.0.2.2'), indexOf('192.0.2.1'), moved === other]).toEqual([SELF_VTEP, moved, false]);
  // The row of the old address is free for the next one.
  expect(vteps.acquire(vtep('192.0.2.3'))).toBe(other);
});

it('this host has an address of each family, is found by both, and moves one alone', () => {
  const { vteps, indexOf } = registrar();
  vteps.acquireSelf(vtep('192.0.2.1', '2001:db8::1'));
  const both = () => ['192.0.2.1', '2001:db8::1', '2001:db8::9'].map(indexOf);
  expect(both()).toEqual([SELF_VTEP, SELF_VTEP, VTEP_MISS]);
  // Another host that claims one of them is told that it is this host's, and changes nothing.
  for (const claimed of ['192.0.2.1', '2001:DB8:0::1']) expect(vteps.acquire(vtep(claimed))).toBe(SELF_VTEP);
  const stranger = vteps.acquire(vtep('192.0.2.5', '2001:db8::1'));
  expect([both(), indexOf('192.0.2.5')]).toEqual([[SELF_VTEP, SELF_VTEP, VTEP_MISS], stranger]);
  vteps.moveSelf({ ip: '192.0.2.1', otherIp: '2001:db8::9' });
  expect(both()).toEqual([SELF_VTEP, VTEP_MISS, SELF_VTEP]);
  expect([...vteps.rows()].map(([index]) => index).toSorted()).toEqual([SELF_VTEP, stranger]);
});

it('a host that is only to be reached by its other address from now on is never unknown', () => {
  const { vteps, indexOf } = registrar();
  vteps.acquireSelf(vtep('192.0.2.1', '2001:db8::1'));
  const before = vteps.acquire(vtep('192.0.2.2', '2001:db8::2'));
  expect([indexOf('192.0.2.2'), indexOf('2001:db8::2')]).toEqual([before, before]);
  const after = vteps.acquire(vtep('2001:db8::2'));
  vteps.release(before);
  expect([after === before, indexOf('2001:db8::2'), indexOf('192.0.2.2')]).toEqual([false, after, VTEP_MISS]);
});

it.each([
  ['fe80::7', 'must not be link-local'],
  ['ff02::1', 'must be the unicast address'],
  ['::ffff:192.0.2.7', 'must be the unicast address'],
  ['224.0.0.1', 'must be the unicast address'],
  ['example.com', 'must be an IPv4 or IPv6 address'],
  ['fe80::7%eth0', 'must be an IPv4 or IPv6 address'],
])('%s is refused by name', (address, rule) => {
  const { vteps } = registrar();
  expect(() => vteps.acquire(vtep(address))).toThrow(`VTEP address "${address}" ${rule}`);
});

// Model: who is sent to at an address has it; else the last row that named it as its other one, until it is taken or changed.
it('finds each address for whoever has it, through any series of acquisitions and releases', () => {
  const address4 = fc.nat(5).map((last) => `192.0.2.${last + 2}`);
  const address6 = fc.nat(5).map((last) => `2001:db8::${last + 2}`);
  const one = fc.oneof(
    fc.record({ address: address4, otherAddress: fc.option(address6, { nil: undefined }) }),
    fc.record({ address: address6, otherAddress: fc.option(address4, { nil: undefined }) }),
  );
  const step = fc.oneof(
    one.map((claim) => ({ acquire: claim })),
    fc.nat(20).map((which) => ({ release: which })),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { vteps, indexOf } = registrar();
      vteps.acquireSelf(vtep('192.0.2.1', '2001:db8::1'));
      const held: { index: number; address: string }[] = [];
      const others = new Map<string, string | undefined>();
      for (const now of steps) {
        if ('acquire' in now) {
          const { address, otherAddress } = now.acquire;
          held.push({ index: vteps.acquire({ ...vtep(address), otherAddress }), address });
          for (const [row, other] of others) if (other === address) others.set(row, undefined);
          const isFree = otherAddress !== undefined && !held.some((row) => row.address === otherAddress);
          if (isFree) for (const [row, other] of others) if (other === otherAddress) others.set(row, undefined);
          others.set(address, isFree ? otherAddress : undefined);
        } else if (held.length > 0) {
          const [gone] = held.splice(now.release % held.length, 1);
          vteps.release(gone!.index);
          if (!held.some(({ address }) => address === gone!.address)) others.delete(gone!.address);
        }
        for (let last = 1; last <= 7; last++) {
          for (const address of [`192.0.2.${last}`, `2001:db8::${last}`]) {
            const owner = [...others].find(([row, other]) => row === address || other === address)?.[0];
            const main = held.find((row) => row.address === address)?.index;
            const byOther = held.find((row) => row.address === owner)?.index;
            expect(indexOf(address)).toBe(last === 1 ? SELF_VTEP : (main ?? byOther ?? VTEP_MISS));
          }
        }
      }
    }),
    { numRuns: 200 },
  );
});
