/** Frames that say IP and end before the IP header does: at every length, behind tags, and none that is whole. */
import { expect, it } from 'vitest';
import { isShortIp, SHORT_IP_BYTES } from '../../src/wire/short-ip.js';

function frame(type: number, tags: number, layer3Bytes: number): Uint8Array {
  const bytes = new Uint8Array(14 + tags * 4 + layer3Bytes);
  const view = new DataView(bytes.buffer);
  for (let tag = 0; tag < tags; tag++) view.setUint16(12 + tag * 4, tag % 2 === 0 ? 0x88a8 : 0x8100);
  view.setUint16(12 + tags * 4, type);
  return bytes;
}

it.each([
  ['IPv4', 0x0800, 20],
  ['IPv6', 0x86dd, 40],
] as const)('%s is too short up to its header, behind none to eight tags', (_name, type, headerBytes) => {
  for (let tags = 0; tags <= 8; tags++) {
    for (let bytes = 0; bytes <= headerBytes + 1; bytes++) {
      const short = frame(type, tags, bytes);
      expect(isShortIp(short, 0, short.length), `${tags} tags, ${bytes} bytes`).toBe(bytes < headerBytes);
      if (bytes < headerBytes) expect(short.length).toBeLessThan(SHORT_IP_BYTES);
    }
  }
});

it('nothing else is: other types, cut tags, a ninth tag', () => {
  for (const type of [0x0806, 0x88b5, 0, 0x0801]) expect(isShortIp(frame(type, 0, 0), 0, 14)).toBe(false);
  for (let bytes = 14; bytes < 18; bytes++) expect(isShortIp(frame(0x8100, 0, 4), 0, bytes)).toBe(false);
  expect(isShortIp(frame(0x0800, 9, 0), 0, 50)).toBe(false);
});

it('reads nothing beyond the frame', () => {
  const bytes = frame(0x8100, 0, 40);
  new DataView(bytes.buffer).setUint16(16, 0x0800);
  expect(isShortIp(bytes, 0, 17)).toBe(false);
  expect(isShortIp(bytes, 0, 18)).toBe(true);
});
