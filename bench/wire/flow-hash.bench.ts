/**
 * How long the hash of one inner flow takes, by what the frame holds. A case is 64 frames of as many flows, as a burst
 * has them: a call of benny costs more than a hash.
 */
import benny from 'benny';
import { writeUint16 } from '../../src/wire/byte-order.js';
import { emitEthernet } from '../../src/wire/ethernet.js';
import { flowHash } from '../../src/wire/flow-hash.js';
import { emitIpv4 } from '../../src/wire/ipv4.js';
import { emitIpv6 } from '../../src/wire/ipv6.js';
import { emitVlanTag } from '../../src/wire/vlan.js';

const FRAMES = 64;
const FRAME_BYTES = 64;
/** Frames lie apart, as in a packet arena, at 2 mod 4. */
const STRIDE_BYTES = 2048;

type Emit = (bytes: Uint8Array, offset: number, i: number) => void;

const ipv4 =
  (protocol: number): Emit =>
  (bytes, offset, i) => {
    emitEthernet(bytes, offset, 0x0200, 1, 0x0200, 2, 0x0800);
    emitIpv4(bytes, offset + 14, 0, FRAME_BYTES - 14, i, 0x4000, 64, protocol, 0x0a000002 + i, 0x0a000003);
    writeUint16(bytes, offset + 34, 40_000 + i);
  };

const tagged: Emit = (bytes, offset, i) => {
  emitEthernet(bytes, offset, 0x0200, 1, 0x0200, 2, 0x8100);
  emitVlanTag(bytes, offset + 12, 0x8100, 0, 0, 7);
  writeUint16(bytes, offset + 16, 0x0800);
  emitIpv4(bytes, offset + 18, 0, FRAME_BYTES - 18, i, 0, 64, 17, 0x0a000002 + i, 0x0a000003);
};

const ipv6: Emit = (bytes, offset, i) => {
  const addresses = Uint8Array.from({ length: 32 }, (_, at) => at ^ i);
  emitEthernet(bytes, offset, 0x0200, 1, 0x0200, 2, 0x86dd);
  emitIpv6(bytes, offset + 14, 0, 0, FRAME_BYTES - 54, 6, 64, addresses, 0, 16);
};

const arp: Emit = (bytes, offset, i) => emitEthernet(bytes, offset, 0xffff, -1, 0x0200, i, 0x0806);

function makeCase(emit: Emit) {
  const bytes = new Uint8Array(FRAMES * STRIDE_BYTES);
  for (let i = 0; i < FRAMES; i++) emit(bytes, i * STRIDE_BYTES + 2, i);
  let sum = 0;
  return () => {
    for (let i = 0; i < FRAMES; i++) sum = (sum + flowHash(bytes, i * STRIDE_BYTES + 2, FRAME_BYTES)) | 0;
    return sum;
  };
}

await benny.suite(
  `flow hash, ${FRAMES} frames`,
  benny.add('IPv4 UDP', () => makeCase(ipv4(17))),
  benny.add('IPv4 TCP', () => makeCase(ipv4(6))),
  benny.add('IPv4 UDP behind a VLAN tag', () => makeCase(tagged)),
  benny.add('IPv4 ICMP', () => makeCase(ipv4(1))),
  benny.add('IPv6 TCP', () => makeCase(ipv6)),
  benny.add('ARP: the MACs', () => makeCase(arp)),
  benny.complete(({ results }) => {
    for (const { name, details } of results) {
      console.log(`${name}: ${((details.median * 1e9) / FRAMES).toFixed(1)} ns a frame`);
    }
  }),
);
