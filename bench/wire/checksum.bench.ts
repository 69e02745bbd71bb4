/** How long one Internet checksum takes, by size. */
import benny from 'benny';
import { completeChecksum, sum } from '../../src/wire/checksum.js';

/** An acknowledgement, a full frame of a 1500-byte underlay, a superframe. */
const SIZES_BYTES = [54, 1464, 65226];

const superframe = Uint8Array.from({ length: 65536 }, (_, i) => (i * 31 + (i >> 8)) & 0xff);
/** Takes every result, so that no run is optimized away. */
let sink = 0;

await benny.suite(
  'checksum',
  ...SIZES_BYTES.map((lengthBytes) =>
    benny.add(`sum of ${lengthBytes} bytes`, () => {
      sink ^= sum(superframe, 14, lengthBytes, 0);
    }),
  ),
  benny.add('completeChecksum of a 1514-byte TCP frame', () => {
    if (!completeChecksum(superframe, 0, 1514, 34, 16)) throw new Error('the offsets lie in the frame');
  }),
  benny.cycle(),
  benny.complete(),
);

process.exitCode = sink < 0 ? 1 : 0;
