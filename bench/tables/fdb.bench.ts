/** FDB lookup: hit and miss, at three fills. A case is 1000 lookups; divide by 1000 for one. */
import benny from 'benny';
import { FDB_BYTES, Fdb, fdbKeyHigh, KIND_STATIC } from '../../src/shared/fdb.js';
import { FdbWriter } from '../../src/shared/writers/fdb-writer.js';

const LOOKUPS = 1000;

function fill(entries: number) {
  const buffer = new SharedArrayBuffer(FDB_BYTES);
  const writer = new FdbWriter(buffer);
  const keys = new Int32Array(entries);
  for (let i = 0; i < entries; i++) {
    keys[i] = Math.imul(i + 1, 0x9e3779b1);
    writer.set(keys[i] as number, fdbKeyHigh(0x0200, 1), KIND_STATIC, i & 4095, 0);
  }
  return { reader: new Fdb(buffer), keys };
}

await benny.suite(
  `FDB, ${LOOKUPS} lookups`,
  ...[1000, 10_000, 98_000].flatMap((entries) => {
    const { reader, keys } = fill(entries);
    const keyHigh = fdbKeyHigh(0x0200, 1);
    let next = 0;
    let sum = 0;
    return [
      benny.add(`hit, ${entries} entries`, () => {
        for (let i = 0; i < LOOKUPS; i++) {
          next = next + 1 < entries ? next + 1 : 0;
          sum = (sum + reader.lookup(keys[next] as number, keyHigh)) | 0;
        }
        return sum;
      }),
      benny.add(`miss, ${entries} entries`, () => {
        for (let i = 0; i < LOOKUPS; i++) sum = (sum + reader.lookup(i, fdbKeyHigh(0x0200, 2))) | 0;
        return sum;
      }),
    ];
  }),
  benny.cycle(),
  benny.complete(),
);
