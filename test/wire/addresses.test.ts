/** Addresses as text: against Node's own parser, and what a person reads when a text is wrong. */
import { isIPv4, isIPv6 } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as ip from '../../src/wire/ip-address.js';
import { formatMac, macHigh16, macKeyHigh, macKeyLow, macLow32, parseMac } from '../../src/wire/mac.js';

describe('MAC', () => {
  it('parses, formats and halves', () => {
    const mac = parseMac('02:00:5E:10:00:Ff');
    expect([...mac]).toEqual([0x02, 0x00, 0x5e, 0x10, 0x00, 0xff]);
    expect(formatMac(Uint8Array.of(9, 9, ...mac), 2)).toBe('02:00:5e:10:00:ff');
    expect([macKeyHigh(mac, 0), macKeyLow(mac, 0)]).toEqual([0x0200, 0x5e1000ff]);
    expect([macHigh16('ff:ff:ff:ff:ff:ff'), macLow32('ff:ff:ff:ff:ff:ff')]).toEqual([0xffff, -1]);
    expect([macHigh16(mac), macLow32(mac)]).toEqual([0x0200, 0x5e1000ff]);
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), (bytes) => {
        expect(parseMac(formatMac(bytes))).toEqual(bytes);
      }),
    );
  });

  it.each([
    '',
    '02:00:5e:10:00',
    '02:00:5e:10:00:01:02',
    '02-00-5e-10-00-01',
    '02:00:5e:10:00:0g',
    ' 02:00:5e:10:00:01',
    '2:0:5e:10:0:1',
  ])('refuses "%s" and names it', (text) =>
    expect(() => parseMac(text)).toThrow(`MAC address "${text}" is not six hexadecimal bytes`),
  );

  it('does not format beyond the buffer', () => expect(() => formatMac(new Uint8Array(6), 1)).toThrow('offset 1'));
});

describe('IPv4', () => {
  it('text, bytes and numbers agree', () => {
    fc.assert(
      fc.property(fc.ipV4(), (text) => {
        expect(ip.formatIPv4(ip.parseIPv4(text))).toBe(text);
        expect(ip.numberToIPv4(ip.ipv4ToNumber(text))).toBe(text);
        expect(ip.numberToIPv4(ip.ipv4ToNumber(text) | 0)).toBe(text);
      }),
    );
    expect(ip.ipv4ToNumber('255.255.255.254')).toBe(4294967294);
    expect(() => ip.numberToIPv4(2 ** 32)).toThrow('4294967296 is no IPv4 address');
  });

  it.each(['', '1.2.3', '1.2.3.4.5', '1.2.3.256', '010.0.0.1', '1.2.3.-4', '1.2.3.4 ', '0x1.2.3.4', '1..2.3', '::1'])(
    'refuses "%s" and names it',
    (text) => {
      expect(isIPv4(text)).toBe(false);
      expect(() => ip.parseIPv4(text)).toThrow(`IPv4 address "${text}" is not four numbers`);
    },
  );
});

describe('IPv6', () => {
  /** The URL standard's serializer, an implementation of RFC 5952 that is not ours. */
  const canonical = (text: string): string => new URL(`http://[${text}]/`).hostname.slice(1, -1);
  const words = fc.array(fc.oneof(fc.constant(0), fc.constant(0), fc.nat(0xffff)), { minLength: 8, maxLength: 8 });

  it('formats as the URL standard does, mapped addresses apart', () => {
    fc.assert(
      fc.property(words, (groups) => {
        const long = groups
          .map((group) => group.toString(16).padStart(4, '0'))
          .join(':')
          .toUpperCase();
        const bytes = ip.parseIPv6(long);
        const text = ip.formatIPv6(bytes);
        expect([...bytes]).toEqual(groups.flatMap((group) => [group >> 8, group & 255]));
        expect(canonical(text)).toBe(canonical(long));
        if (!text.startsWith('::ffff:')) expect(text).toBe(canonical(long));
        expect(ip.parseIPv6(text)).toEqual(bytes);
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['1::', '1::'],
    ['::ffff:c000:201', '::ffff:192.0.2.1'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ['::0.0.0.1', '::1'],
  ])('%s is written %s', (text, expected) => expect(ip.formatIPv6(ip.parseIPv6(text))).toBe(expected));

  it('accepts exactly what Node accepts, zones apart', () => {
    const piece = fc.constantFrom(':', '::', '0', '1', 'ffff', 'abc', '12345', 'g', '1.2.3.4', '1.2.3', '.');
    fc.assert(
      fc.property(
        fc.oneof(
          fc.array(piece, { maxLength: 16 }).map((list) => list.join('')),
          fc.ipV6(),
        ),
        (text) => {
          let accepted = true;
          try {
            ip.parseIPv6(text);
          } catch {
            accepted = false;
          }
          expect([text, accepted]).toEqual([text, isIPv6(text)]);
        },
      ),
      { numRuns: 3000 },
    );
  });

  it.each(['1:2:3:4:5:6:7::8', '::1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7', '1:2:3:4:5:6:7:8:9', ':1::', '1.2.3.4::'])(
    'refuses "%s": the groups are not eight',
    (text) => {
      expect(isIPv6(text)).toBe(false);
      expect(() => ip.parseIPv6(text)).toThrow(`IPv6 address "${text}" is not eight groups`);
    },
  );

  it('refuses a zone and says so', () => expect(() => ip.parseIPv6('fe80::1%eth0')).toThrow('has a zone'));
  it('names a wrong text', () =>
    expect(() => ip.parseIPv6('1::2::3')).toThrow('IPv6 address "1::2::3" is not eight groups'));
});

describe('CIDR', () => {
  it('parses both families', () => {
    expect(ip.parseCidr('10.0.2.0/24')).toEqual({
      family: 4,
      network: Uint8Array.of(10, 0, 2, 0),
      prefixLength: 24,
      text: '10.0.2.0/24',
    });
    expect(ip.parseCidr('FD00:0::/64')).toMatchObject({ family: 6, prefixLength: 64, text: 'fd00::/64' });
    expect(ip.parseCidr('0.0.0.0/0').text).toBe('0.0.0.0/0');
  });

  it.each([
    ['10.0.2.0', 'CIDR "10.0.2.0" has no prefix length: write it as ADDRESS/LENGTH, such as 10.0.2.0/24'],
    ['10.0.2/24', 'CIDR "10.0.2/24": "10.0.2" is not an IP address'],
    ['fd00:::/64', 'CIDR "fd00:::/64": "fd00:::" is not an IP address'],
    ['10.0.2.0/33', 'CIDR "10.0.2.0/33": prefix length "33" is not a number of 0 to 32'],
    ['fd00::/129', 'prefix length "129" is not a number of 0 to 128'],
    ['10.0.2.0/', 'prefix length "" is not a number'],
    ['10.0.2.0/08', 'prefix length "08" is not a number'],
    ['10.0.2.0/24/8', 'prefix length "24/8" is not a number'],
    ['10.0.2.5/24', 'CIDR "10.0.2.5/24" has host bits set beyond its 24-bit prefix: the block is 10.0.2.0/24'],
    ['fd00::1/64', 'has host bits set beyond its 64-bit prefix: the block is fd00::/64'],
  ])('refuses %s', (text, message) => expect(() => ip.parseCidr(text)).toThrow(message));

  it('contains and overlaps', () => {
    const overlaps = (a: string, b: string) => [
      ip.cidrOverlaps(ip.parseCidr(a), ip.parseCidr(b)),
      ip.cidrOverlaps(ip.parseCidr(b), ip.parseCidr(a)),
    ];
    expect(overlaps('10.0.0.0/8', '10.0.2.0/24')).toEqual([true, true]);
    expect(overlaps('10.0.2.0/24', '10.0.2.0/24')).toEqual([true, true]);
    expect(overlaps('10.0.2.0/24', '10.0.3.0/24')).toEqual([false, false]);
    expect(overlaps('10.0.2.0/23', '10.0.3.128/25')).toEqual([true, true]);
    expect(overlaps('0.0.0.0/0', '::/0')).toEqual([false, false]);
    expect(overlaps('fd00::/63', 'fd00:0:0:1::/64')).toEqual([true, true]);
    expect(ip.cidrContains(ip.parseCidr('10.0.2.0/23'), ip.parseIp('10.0.3.255'))).toBe(true);
    expect(ip.cidrContains(ip.parseCidr('10.0.2.0/23'), ip.parseIp('10.0.4.0'))).toBe(false);
    expect(ip.cidrContains(ip.parseCidr('::/0'), ip.parseIp('10.0.4.0'))).toBe(false);
  });

  it.each([
    ['10.0.2.0/24', '10.0.2.1', '10.0.2.254', 254n],
    ['10.0.0.0/8', '10.0.0.1', '10.255.255.254', 16777214n],
    ['10.0.2.0/30', '10.0.2.1', '10.0.2.2', 2n],
    ['10.0.2.2/31', '10.0.2.2', '10.0.2.3', 2n],
    ['10.0.2.7/32', '10.0.2.7', '10.0.2.7', 1n],
    ['fd00::/64', 'fd00::1', 'fd00::ffff:ffff:ffff:ffff', (1n << 64n) - 1n],
    ['fd00::2/127', 'fd00::2', 'fd00::3', 2n],
    ['fd00::7/128', 'fd00::7', 'fd00::7', 1n],
  ])('hosts of %s', (text, first, last, count) =>
    expect(ip.hostRange(ip.parseCidr(text))).toEqual({ first, last, count }),
  );
});
