/**
 * Frames that no socket of this kernel sends by itself: with one VLAN tag and two, with IP options and extension headers,
 * fragments, and superframes of those. What a container sends raw comes out in the other one byte for byte.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { BASE_SPEC, emitFrame, emitSuperframe, type FrameSpec, payloadOf } from '../dataplane/reference/frame-spec.js';
import { hex } from '../dataplane/reference/octets.js';
import { TCP, UDP } from '../dataplane/reference/packet.js';
import { segmentReference } from '../dataplane/reference/segment.js';
import { PLAIN, tapMessageOf } from '../dataplane/reference/virtio-header.js';
import { type Container, createHostPair, type HostPair, waitFor } from '../e2e/host-pair.js';

const SENDER = new URL('./raw-frames.mjs', import.meta.url).pathname;
const GSO_BYTES = 1300;
const PCAP_HEADER_BYTES = 24;
const RECORD_HEADER_BYTES = 16;
/** Of all frames here and of no other: the source 10.0.0.77 or fd00::77 is nobody's. */
const SOURCE = 77;

let pair: HostPair;
let boxA: Container;
let boxB: Container;

beforeAll(async () => {
  pair = await createHostPair();
  // The frames below are from nobody's address, and some have two tags.
  await pair.mustVtep('a', 'network', 'create', 'n', '--subnet', '10.0.0.0/24', '--port-security', 'off');
  boxA = await pair.addContainer('a', 'box-a', 'n');
  boxB = await pair.addContainer('b', 'box-b', 'n');
  await pair.waitConverged('n');
});
afterAll(async () => {
  await pair?.cleanup();
});

const VARIANTS: Record<string, Partial<FrameSpec>> = {
  'a VLAN tag': { vlanIds: [7] },
  'two VLAN tags': { vlanIds: [7, 8] },
  'IPv4 options': { ipOptions: new Uint8Array(8).fill(1) },
  'an IPv6 extension header': { family: 6, extensionBytes: 16 },
  'a VLAN tag over IPv6': { family: 6, vlanIds: [9] },
};

function messages(variant: Partial<FrameSpec>): Uint8Array[] {
  const list: Uint8Array[] = [];
  for (const protocol of [TCP, UDP] as const) {
    const spec: FrameSpec = { ...BASE_SPEC, source: SOURCE, protocol, ...variant };
    for (const bytes of [1, 100, 1300]) {
      list.push(tapMessageOf(PLAIN, emitFrame({ ...spec, payload: payloadOf(bytes, bytes) })));
    }
    list.push(tapMessageOf(PLAIN, emitFrame({ ...spec, fragmentField: 0x2000, payload: payloadOf(800, 1) })));
    list.push(emitSuperframe({ ...spec, id: 100, payload: payloadOf(20 * GSO_BYTES - 7, 2) }, GSO_BYTES));
  }
  return list.map(readdress);
}

/** From box-a to box-b, so that the ways there are known. */
function readdress(message: Uint8Array): Uint8Array {
  const macs = [boxB.mac, boxA.mac].map((mac) => hex(mac.replaceAll(':', '')));
  message.set(macs[0] as Uint8Array, 10);
  message.set(macs[1] as Uint8Array, 16);
  return message;
}

function frames(path: string): string[] {
  const bytes = readFileSync(path);
  const found: string[] = [];
  for (let at = PCAP_HEADER_BYTES; at + RECORD_HEADER_BYTES <= bytes.length; ) {
    const length = bytes.readUInt32LE(at + 8);
    at += RECORD_HEADER_BYTES;
    found.push(bytes.subarray(at, at + length).toString('hex'));
    at += length;
  }
  return found;
}

it.each(Object.keys(VARIANTS))('frames and superframes with %s arrive as they were sent', async (name) => {
  const sent = messages(VARIANTS[name] as Partial<FrameSpec>);
  const expected = sent.map((message) => segmentReference(message).map((frame) => Buffer.from(frame).toString('hex')));
  const all = new Set(expected.flat());
  const capture = join(pair.folder, `${name.replaceAll(' ', '-')}.pcap`);
  // A ring of many small frames: tcpdump's own default holds eight of the longest.
  const args = [
    '-i',
    boxB.interface,
    '-Q',
    'in',
    '-U',
    '--immediate-mode',
    '-s',
    '2000',
    '-B',
    '8192',
    '-Z',
    'root',
    '-w',
    capture,
  ];
  const dump = pair.spawn(`dump ${name}`, boxB.netns, 'tcpdump', ...args);
  await waitFor('tcpdump', () => pair.log(`dump ${name}`).includes('listening on'));
  const [link] = (await pair.mustExec('box-a', 'ip', '-json', 'link', 'show', 'dev', boxA.interface)).json();
  await pair.mustExec(
    'box-a',
    process.execPath,
    SENDER,
    String(link.ifindex),
    ...sent.map((m) => Buffer.from(m).toString('hex')),
  );
  const arrived = () => frames(capture).filter((frame) => all.has(frame));
  try {
    await waitFor(`${all.size} frames`, () => arrived().length >= all.size, 3000);
  } finally {
    dump.kill();
  }
  expect(arrived().sort()).toEqual([...all].sort());
  // Flows may overtake each other, the segments of one superframe may not.
  for (const segments of expected) expect(arrived().filter((frame) => segments.includes(frame))).toEqual(segments);
});
