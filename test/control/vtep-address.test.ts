/** By which address two hosts speak: each side finds the same, whatever each of them has. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  addressFor,
  allIps,
  endText,
  familiesOf,
  familyOf,
  type VtepIps,
  whyNoVtep,
} from '../../src/control/vtep-address.js';

const port = 4789;
const ips = (n: number): fc.Arbitrary<VtepIps> =>
  fc.constantFrom(
    { ip: `192.0.2.${n}` },
    { ip: `2001:db8::${n}` },
    { ip: `192.0.2.${n}`, otherIp: `2001:db8::${n}` },
    { ip: `2001:db8::${n}`, otherIp: `192.0.2.${n}` },
  );

it('both sides choose one family, and only if both have one; what comes by the other is known too', () => {
  fc.assert(
    fc.property(ips(1), ips(2), (a, b) => {
      const to = addressFor(familiesOf(a), { ...b, port });
      const back = addressFor(familiesOf(b), { ...a, port });
      const common = familiesOf(a).filter((family) => familiesOf(b).includes(family));
      expect([to, back].map((vtep) => vtep && familyOf(vtep.address))).toEqual(
        Array(2).fill(common.length === 0 ? undefined : Math.min(...common)),
      );
      if (to !== undefined) expect([to.address, to.otherAddress].filter(Boolean).sort()).toEqual(allIps(b).sort());
    }),
  );
});

it('a second address of the same family counts for nothing', () => {
  expect(allIps({ ip: '192.0.2.1', otherIp: '192.0.2.2' })).toEqual(['192.0.2.1']);
});

it('writes an end as a URL does', () => {
  expect([endText('192.0.2.1', 1), endText('2001:db8::1', 2)]).toEqual(['192.0.2.1:1', '[2001:db8::1]:2']);
});

it('takes what one host can be sent to', () => {
  for (const ip of ['127.0.0.1', '223.255.255.255', '::1', '2001:db8::1', 'fd00::1', 'fec0::1']) {
    expect(whyNoVtep(ip), ip).toBeUndefined();
  }
  for (const ip of ['0.0.0.0', '224.0.0.1', '255.255.255.255', '::', '::2', '::ffff:192.0.2.1', 'ff05::1', 'fe80::1']) {
    expect(whyNoVtep(ip), ip).toBeDefined();
  }
});
