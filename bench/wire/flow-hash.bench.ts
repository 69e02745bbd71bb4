/** How long the hash of one inner flow takes, by what the frame holds. */
import benny from 'benny';
import { emitEthernet } from '../../src/wire/ethernet.js';
import { flowHash } from '../../src/wire/flow-hash.js';
import { emitIpv4 } from '../../src/wire/ipv4.js';
import { emitIpv6 } from '../../src/wire/ipv6.js';
import { emitVlanTag } from '../../src/wire/vlan.js';

const FRAME_BYTES = 128;

const ipv4 = new Uint8Array(FRAME_BYTES);
emitEthernet(ipv4, 0, 0x0200, 1, 0x0200, 2, 0x0800);
emitIpv4(ipv4, 14, 0, FRAME_BYTES - 14, 1, 0, 64, 6, 0x0a000002, 0x0a000003);

const tagged = new Uint8Array(FRAME_BYTES);
emitEthernet(tagged, 0, 0x0200, 1, 0x0200, 2, 0x8100);
emitVlanTag(tagged, 12, 0x8100, 0, 0, 7);
tagged[16] = 0x08;
emitIpv4(tagged, 18, 0, FRAME_BYTES - 18, 1, 0, 64, 17, 0x0a000002, 0x0a000003);

const ipv6 = new Uint8Array(FRAME_BYTES);
emitEthernet(ipv6, 0, 0x0200, 1, 0x0200, 2, 0x86dd);
emitIpv6(
  ipv6,
  14,
  0,
  0,
  FRAME_BYTES - 54,
  6,
  64,
  Uint8Array.from({ length: 32 }, (_, i) => i),
  0,
  16,
);

const arp = new Uint8Array(FRAME_BYTES);
emitEthernet(arp, 0, 0xffff, -1, 0x0200, 2, 0x0806);

/** Takes every result, so that no run is optimized away. */
let sink = 0;
const measure = (name: string, frame: Uint8Array) =>
  benny.add(name, () => {
    sink ^= flowHash(frame, 0, FRAME_BYTES);
  });

await benny.suite(
  'flow hash',
  measure('IPv4 TCP', ipv4),
  measure('IPv4 UDP behind a VLAN tag', tagged),
  measure('IPv6 TCP', ipv6),
  measure('ARP: the MACs', arp),
  benny.cycle(),
  benny.complete(),
);

process.exitCode = sink < 0 ? 1 : 0;
