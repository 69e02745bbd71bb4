/** Published ports: their text, who has which, and the bindings that come of them. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { publishSchema, publishText } from '../../../src/control/api/publish-schema.js';
import {
  bindingsOf,
  checkPublication,
  listenerAddresses,
  type Publication,
} from '../../../src/control/gateway/published-ports.js';

const parse = (text: string) => publishSchema.parse([text])[0]!;
const publication = (name: string, ...ports: string[]): Publication => ({
  ...{ endpointId: name, name, network: 'blue', addresses: ['10.0.0.2', 'fd00::2'] },
  ports: ports.map(parse),
});

describe('publishSchema', () => {
  it.each([
    ['8080:80', { protocol: 'tcp', hostPort: 8080, containerPort: 80 }],
    ['53:5353/udp', { protocol: 'udp', hostPort: 53, containerPort: 5353 }],
    ['192.0.2.1:8080:80/tcp', { protocol: 'tcp', hostAddress: '192.0.2.1', hostPort: 8080, containerPort: 80 }],
    ['[2001:db8::1]:8080:80', { protocol: 'tcp', hostAddress: '2001:db8::1', hostPort: 8080, containerPort: 80 }],
  ])('reads %s', (text, port) => expect(parse(text)).toEqual(port));

  it.each([
    '',
    '80',
    '0:80',
    '8080:0',
    '65536:80',
    '8080:80/sctp',
    '8080:80:80',
    '2001:db8::1:8080:80',
    '[192.0.2.1]:1:1',
    '999.0.2.1:8080:80',
    'a:80',
    '8080:80 ',
  ])('refuses "%s" and says what is right', (text) => {
    const result = publishSchema.safeParse([text]);
    expect(result.success).toBe(false);
    expect(JSON.stringify(result.error?.issues)).toMatch(/HOST-PORT:CONTAINER-PORT/);
  });

  it('reads what it writes, and takes the object as well as its text', () => {
    const port = fc.integer({ min: 1, max: 65_535 });
    const address = fc.option(fc.constantFrom('192.0.2.1', '2001:db8::1'), { nil: undefined });
    const ports = fc.record({
      protocol: fc.constantFrom('tcp' as const, 'udp' as const),
      hostPort: port,
      containerPort: port,
    });
    fc.assert(
      fc.property(ports, address, (rest, hostAddress) => {
        const whole = hostAddress === undefined ? rest : { ...rest, hostAddress };
        expect(parse(publishText(whole))).toEqual(whole);
        expect(publishSchema.parse([whole])).toEqual([whole]);
      }),
    );
  });
});

describe('checkPublication', () => {
  it.each([
    ['the same', '8080:80', '8080:81'],
    ['all addresses and one', '8080:80', '192.0.2.1:8080:80'],
    ['one and all addresses', '192.0.2.1:8080:80', '8080:80'],
  ])('refuses %s, naming who has it', (_, mine, theirs) => {
    const check = () => checkPublication(publication('new', mine), [publication('web', theirs)]);
    expect(check).toThrow(/8080\/tcp.*published by endpoint "web"/);
  });
  it('refuses one port twice', () => {
    expect(() => checkPublication(publication('new', '8080:80', '8080:81'), [])).toThrow(/published twice/);
  });
  it.each([
    ['another protocol', '8080:80', '8080:80/udp'],
    ['another address', '192.0.2.1:8080:80', '192.0.2.2:8080:80'],
    ['another port', '8080:80', '8081:80'],
  ])('takes %s', (_, mine, theirs) => {
    expect(() => checkPublication(publication('new', mine), [publication('web', theirs)])).not.toThrow();
  });
  it('refuses an address of a family that the endpoint does not have', () => {
    const ipv4Only = { ...publication('new', '[2001:db8::1]:8080:80'), addresses: ['10.0.0.2'] };
    expect(() => checkPublication(ipv4Only, [])).toThrow(/no address of the family of 2001:db8::1/);
  });
});

it('binds each family that the endpoint has, or the one of the host address', () => {
  const targets = (text: string) =>
    bindingsOf(publication('web', text)).map(({ containerAddress }) => containerAddress);
  expect(targets('8080:80')).toEqual(['10.0.0.2', 'fd00::2']);
  expect(targets('192.0.2.1:8080:80')).toEqual(['10.0.0.2']);
  expect(targets('[2001:db8::1]:8080:80')).toEqual(['fd00::2']);
});

it('reads the listeners of ss', () => {
  const text = `LISTEN 0 128 0.0.0.0:8080 0.0.0.0:*
LISTEN 0 128 127.0.0.53%lo:8080 0.0.0.0:*
LISTEN 0 128 [::]:8080 [::]:*
LISTEN 0 128 *:8080 *:*
`;
  expect(listenerAddresses(text)).toEqual(['0.0.0.0', '127.0.0.53', '::', '*']);
});
