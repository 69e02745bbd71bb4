/** Counters of several workers as one, and rows that change their owner. */
import { expect, it } from 'vitest';
import { CounterReader } from '../../src/control/forwarding-counters.js';
import {
  Counters,
  ENCAP_FRAMES,
  TAP_GSO_REFUSED,
  VTEP_TX_DATAGRAMS,
  VTEP_TX_GSO_REFUSED,
} from '../../src/shared/counters.js';
import { allocateTables } from '../../src/shared/tables.js';

const buffers = allocateTables(2).counters;
const workers = buffers.map((buffer) => new Counters(buffer));
const reader = new CounterReader(buffers);

it('sums the workers', () => {
  reader.use(3);
  reader.useVtep(5);
  for (const [index, worker] of workers.entries()) {
    worker.add(3, ENCAP_FRAMES, 10 + index);
    worker.add(3, TAP_GSO_REFUSED, 1);
    worker.addVtep(5, VTEP_TX_GSO_REFUSED, 2);
  }
  expect(reader.network(3)).toMatchObject({ encap_frames: 21, tap_gso_refused: 2 });
  expect(reader.vtep(5)).toMatchObject({ tx_gso_refused: 4, tx_datagrams: 0 });
});

it('a row begins at 0 with its next owner; the totals go on', () => {
  reader.retire(3);
  expect(reader.network(3)).toMatchObject({ encap_frames: 0, tap_gso_refused: 0 });
  expect(reader.totals().totals).toMatchObject({ encap_frames: 21, tap_gso_refused: 2 });
  reader.useVtep(5);
  workers[1]?.addVtep(5, VTEP_TX_DATAGRAMS, 1);
  expect(reader.vtep(5)).toMatchObject({ tx_gso_refused: 0, tx_datagrams: 1 });
});
