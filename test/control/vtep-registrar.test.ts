/** Rows of VTEPs by their users, and this host's own when its address changes, as a worker finds them by source address. */
import { expect, it } from 'vitest';
import { VtepRegistrar } from '../../src/control/vtep-registrar.js';
import { SELF_VTEP } from '../../src/shared/layout.js';
import { VTEP_BYTES, VTEP_MISS, VtepTable } from '../../src/shared/vtep-table.js';
import { VtepWriter } from '../../src/shared/writers/vtep-writer.js';
import { parseIPv4 } from '../../src/wire/ip-address.js';

function registrar() {
  const buffer = new SharedArrayBuffer(VTEP_BYTES);
  const table = new VtepTable(buffer);
  const vteps = new VtepRegistrar(
    new VtepWriter(buffer),
    async () => undefined,
    () => undefined,
  );
  const indexOf = (address: string) =>
    table.indexOfSource(new DataView(Uint8Array.from(parseIPv4(address)).buffer).getInt32(0, true));
  return { vteps, indexOf };
}

const vtep = (address: string) => ({ address, port: 4789 });

it('this host keeps its row under a new address, and its old one may become another host', () => {
  const { vteps, indexOf } = registrar();
  expect(vteps.acquire(vtep('192.0.2.1'))).toBe(SELF_VTEP);
  const other = vteps.acquire(vtep('192.0.2.2'));
  vteps.moveSelf('192.0.2.9');
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
  vteps.moveSelf('192.0.2.2');
  expect(indexOf('192.0.2.2')).toBe(SELF_VTEP);
  expect(vteps.get(other)?.address).toBe('192.0.2.2');
  const moved = vteps.acquire(vtep('192.0.2.1'));
  vteps.release(other);
  await Promise.resolve();
  expect([indexOf('192.0.2.2'), indexOf('192.0.2.1'), moved === other]).toEqual([SELF_VTEP, moved, false]);
  // The row of the old address is free for the next one.
  expect(vteps.acquire(vtep('192.0.2.3'))).toBe(other);
});
