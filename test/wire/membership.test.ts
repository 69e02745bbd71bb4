/** Membership messages: queries as we write them are sound and read as queries; what hosts send is found; rubbish is not. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { isChecksumSound, pseudoHeaderSumIpv6 } from '../../src/wire/checksum.js';
import { ETHERNET_HEADER_BYTES } from '../../src/wire/ethernet.js';
import { isIpv4HeaderSound } from '../../src/wire/ipv4.js';
import {
  MEMBERSHIP_JOIN,
  MEMBERSHIP_LEAVE,
  MEMBERSHIP_NONE,
  MEMBERSHIP_QUERY,
  MEMBERSHIP_RECORDS,
  membershipKind,
  membershipOffset,
  readRecordBytes,
  readRecordCount,
  readRecordSources,
} from '../../src/wire/membership.js';
import { igmpQuery, mldQuery } from '../../src/wire/membership-query.js';
import { guarded } from './guarded.js';

const IP = ETHERNET_HEADER_BYTES;

it('an IGMP query is sound: router alert, TTL 1, from 0.0.0.0, version 3', () => {
  const frame = igmpQuery(10_000, 125);
  expect(isIpv4HeaderSound(frame, IP)).toBe(true);
  expect([frame[IP], frame[IP + 8], frame[IP + 9]]).toEqual([0x46, 1, 2]);
  expect([...frame.slice(IP + 12, IP + 24)]).toEqual([0, 0, 0, 0, 224, 0, 0, 1, 0x94, 4, 0, 0]);
  const message = membershipOffset(frame, 0, frame.length);
  expect(isChecksumSound(frame, message, 12, 0)).toBe(true);
  expect(membershipKind(frame, message, false)).toBe(MEMBERSHIP_QUERY);
  expect([frame[message + 1], frame[message + 8], frame[message + 9]]).toEqual([100, 2, 125]);
});

it('an MLD query is sound: router alert, hop limit 1, link-local, version 2', () => {
  const frame = mldQuery(10_000, 125);
  expect([frame[IP + 6], frame[IP + 7], frame[IP + 8], frame[IP + 9]]).toEqual([0, 1, 0xfe, 0x80]);
  expect([...frame.slice(IP + 40, IP + 48)]).toEqual([58, 0, 5, 2, 0, 0, 1, 0]);
  const message = membershipOffset(frame, 0, frame.length);
  expect(message).toBe(IP + 48);
  expect(isChecksumSound(frame, message, 28, pseudoHeaderSumIpv6(frame, IP, 58, 28))).toBe(true);
  expect(membershipKind(frame, message, true)).toBe(MEMBERSHIP_QUERY);
});

it.each([
  [0x11, false, MEMBERSHIP_QUERY],
  [0x12, false, MEMBERSHIP_JOIN],
  [0x16, false, MEMBERSHIP_JOIN],
  [0x17, false, MEMBERSHIP_LEAVE],
  [0x22, false, MEMBERSHIP_RECORDS],
  [0x14, false, MEMBERSHIP_NONE],
  [130, true, MEMBERSHIP_QUERY],
  [131, true, MEMBERSHIP_JOIN],
  [132, true, MEMBERSHIP_LEAVE],
  [143, true, MEMBERSHIP_RECORDS],
  [135, true, MEMBERSHIP_NONE],
])('type %i (IPv6: %s) is %i', (type, isIpv6, kind) => {
  const bytes = new Uint8Array(8);
  bytes[0] = type;
  expect(membershipKind(bytes, 0, isIpv6)).toBe(kind);
});

it('records tell their length, sources and auxiliary data included', () => {
  const record = Uint8Array.from([4, 2, 0, 3, 239, 1, 2, 3]);
  expect([readRecordBytes(record, 0, 4), readRecordSources(record, 0)]).toEqual([8 + 12 + 8, 3]);
  expect(readRecordBytes(Uint8Array.from([4, 0, 0, 1]), 0, 16)).toBe(20 + 16);
  expect(readRecordCount(Uint8Array.from([0x22, 0, 0, 0, 0, 0, 1, 2]), 0)).toBe(258);
});

it('no frame is read beyond its end', () => {
  const frames = [igmpQuery(10_000, 125), mldQuery(10_000, 125)];
  fc.assert(
    fc.property(
      fc.constantFrom(...frames),
      fc.nat(90),
      fc.array(fc.record({ at: fc.nat(89), value: fc.nat(255) }), { maxLength: 6 }),
      (frame, length, changes) => {
        const bytes = new Uint8Array(100);
        bytes.set(frame);
        for (const { at, value } of changes) bytes[at] = value;
        const frameBytes = Math.max(ETHERNET_HEADER_BYTES, length);
        const message = membershipOffset(guarded(bytes, 0, frameBytes), 0, frameBytes);
        expect(message === 0 || message + 8 <= frameBytes).toBe(true);
      },
    ),
  );
});
