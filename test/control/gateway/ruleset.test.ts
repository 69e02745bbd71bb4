/** The rules' text: tables of what is asked for and what comes of it; nft itself is asked in gateway-manager.test.ts. */
import { describe, expect, it } from 'vitest';
import { type DesiredRules, ruleset } from '../../../src/control/gateway/ruleset.js';

const V4 = { family: 4, address: '10.0.0.1', subnet: '10.0.0.0/24', prefixLength: 24 } as const;
const V6 = { family: 6, address: 'fd00::1', subnet: 'fd00::/64', prefixLength: 64 } as const;
const OUTSIDE = { vni: 256, internal: false, gateways: [V4, V6] };
const INTERNAL = { vni: 257, internal: true, gateways: [{ ...V4, address: '10.0.1.1', subnet: '10.0.1.0/24' }] };
const NONE: DesiredRules = { tunnel: { ip: '192.0.2.1', port: 4789 }, networks: [], bindings: [] };
const ALONE = { vni: 258, internal: false, gateways: [] };

/** The rules of one chain. */
function rules(desired: Partial<DesiredRules>, chain: string): string[] {
  const text = ruleset({ ...NONE, ...desired });
  const body = new RegExp(`\\tchain ${chain} \\{\\n(.*?)\\n\\t\\}`, 's').exec(text)?.[1] ?? '';
  return body
    .split('\n')
    .slice(1)
    .map((line) => line.trim());
}

describe('ruleset', () => {
  it('replaces the whole table in one transaction', () => {
    expect(ruleset(NONE)).toMatch(/^add table inet vtep\ndelete table inet vtep\ntable inet vtep \{\n/);
  });

  it('keeps the tunnel out of conntrack, and nothing else of the host', () => {
    expect(rules({}, 'raw-input')).toEqual(['ip daddr 192.0.2.1 udp dport 4789 notrack accept']);
    expect(rules({}, 'raw-output')).toEqual(['ip saddr 192.0.2.1 udp dport 4789 notrack accept']);
    expect(rules({ tunnel: { ip: '2001:db8::1', port: 1 } }, 'raw-input')).toEqual([
      'ip6 daddr 2001:db8::1 udp dport 1 notrack accept',
    ]);
    expect(rules({ tunnel: { ip: '192.0.2.1', otherIp: '2001:db8::1', port: 1 } }, 'raw-output')).toEqual([
      'ip saddr 192.0.2.1 udp dport 1 notrack accept',
      'ip6 saddr 2001:db8::1 udp dport 1 notrack accept',
    ]);
  });

  it("leads DNS questions of Docker's containers to their gateway, before ports are published", () => {
    const binding = { protocol: 'udp', hostPort: 53, containerAddress: '10.0.0.9', containerPort: 53 } as const;
    const redirects = [
      { vni: 257, family: 4, client: '10.0.1.2', server: '10.0.1.1' },
      { vni: 256, family: 6, client: 'fd00::2', server: 'fd00::1' },
      { vni: 256, family: 4, client: '10.0.0.2', server: '10.0.0.1' },
    ] as const;
    expect(rules({ networks: [OUTSIDE], bindings: [binding], redirects }, 'prerouting')).toEqual([
      'meta l4proto { tcp, udp } th dport 53 dnat ip to iifname . ip saddr map { "vtep-b256" . 10.0.0.2 : 10.0.0.1, "vtep-b257" . 10.0.1.2 : 10.0.1.1 }',
      'meta l4proto { tcp, udp } th dport 53 dnat ip6 to iifname . ip6 saddr map { "vtep-b256" . fd00::2 : fd00::1 }',
      'fib daddr type local meta nfproto ipv4 udp dport 53 dnat ip to 10.0.0.9:53',
    ]);
    expect(rules({ redirects }, 'output')).toEqual([]);
  });

  it('is the same in whatever order the networks come', () => {
    expect(ruleset({ ...NONE, networks: [ALONE, OUTSIDE] })).toBe(ruleset({ ...NONE, networks: [OUTSIDE, ALONE] }));
  });

  it.each([
    [
      'raw',
      [
        'iifname { "vtep-b256" } ip daddr 127.0.0.0/8 drop',
        'iifname { "vtep-b256" } iifname . ether daddr != { "vtep-b256" . 02:76:74:00:01:00 } notrack',
      ],
    ],
    [
      'forward',
      [
        'iifname . oifname { "vtep-b256" . "vtep-b256" } accept',
        'iifname { "vtep-b256" } meta nfproto ipv4 iifname . ip saddr != { "vtep-b256" . 10.0.0.0/24 } drop',
        'iifname { "vtep-b256" } meta nfproto ipv6 iifname . ip6 saddr != { "vtep-b256" . fd00::/64 } drop',
        'iifname { "vtep-b256" } ct state invalid drop',
        'oifname { "vtep-b256" } ct state established,related accept',
        'oifname { "vtep-b256" } ct status dnat accept',
        'oifname { "vtep-b256" } drop',
      ],
    ],
    ['input', []],
    [
      'postrouting',
      [
        'oifname { "vtep-b256" } fib saddr type local ct status dnat masquerade',
        'oifname . ip saddr { "vtep-b256" . 10.0.0.0/24 } ct status dnat masquerade',
        'oifname . ip saddr { "vtep-b256" . 10.0.0.0/24 } accept',
        'ip saddr { 10.0.0.0/24 } masquerade',
        'oifname . ip6 saddr { "vtep-b256" . fd00::/64 } ct status dnat masquerade',
        'oifname . ip6 saddr { "vtep-b256" . fd00::/64 } accept',
        'ip6 saddr { fd00::/64 } masquerade',
      ],
    ],
  ])('of a network that leads outside: %s', (chain, expected) => {
    expect(rules({ networks: [OUTSIDE] }, chain)).toEqual(expected);
  });

  it('has no more rules for a thousand networks', () => {
    const count = (networks: DesiredRules['networks']) => ruleset({ ...NONE, networks }).split('\n').length;
    const many = Array.from({ length: 1000 }, (_, i) => ({ ...OUTSIDE, vni: 1000 + i }));
    expect(count([...many, INTERNAL, ALONE])).toBe(count([OUTSIDE, INTERNAL, ALONE]));
  });

  it('shuts an internal network in: nothing forwarded, of the host only names, echo and neighbours', () => {
    expect(rules({ networks: [INTERNAL] }, 'forward')).toEqual([
      'iifname . oifname { "vtep-b257" . "vtep-b257" } accept',
      'iifname { "vtep-b257" } drop',
      'oifname { "vtep-b257" } drop',
    ]);
    expect(rules({ networks: [INTERNAL] }, 'input')).toEqual([
      'iifname { "vtep-b257" } ct state established,related accept',
      'iifname { "vtep-b257" } icmp type echo-request accept',
      'iifname { "vtep-b257" } icmpv6 type { echo-request, nd-neighbor-solicit, nd-neighbor-advert } accept',
      'iifname . ip daddr { "vtep-b257" . 10.0.1.1 } meta l4proto { tcp, udp } th dport 53 accept',
      'iifname { "vtep-b257" } drop',
    ]);
    expect(rules({ networks: [INTERNAL] }, 'postrouting')).toEqual([]);
  });

  it('of a network without a gateway here takes nothing to the host', () => {
    expect(rules({ networks: [ALONE] }, 'input')).toEqual(['iifname { "vtep-b258" } drop']);
    expect(rules({ networks: [ALONE] }, 'forward')).toContain('iifname { "vtep-b258" } drop');
  });

  it('drops a family that no network has a gateway of', () => {
    expect(rules({ networks: [{ ...OUTSIDE, gateways: [V4] }] }, 'forward')).toContain(
      'iifname { "vtep-b256" } meta nfproto ipv6 drop',
    );
  });

  it.each([
    [{}, '10.0.0.2', 'fib daddr type local meta nfproto ipv4 tcp dport 8080 dnat ip to 10.0.0.2:80'],
    [{}, 'fd00::2', 'fib daddr type local ip6 daddr != { ::1, fe80::/10 } tcp dport 8080 dnat ip6 to [fd00::2]:80'],
    [{ hostAddress: '192.0.2.1' }, '10.0.0.2', 'ip daddr 192.0.2.1 tcp dport 8080 dnat ip to 10.0.0.2:80'],
    [
      { protocol: 'udp' as const },
      '10.0.0.2',
      'fib daddr type local meta nfproto ipv4 udp dport 8080 dnat ip to 10.0.0.2:80',
    ],
  ])('publishes %j to %s, for what comes and for the host itself', (binding, containerAddress, rule) => {
    const bindings = [{ protocol: 'tcp' as const, hostPort: 8080, containerPort: 80, containerAddress, ...binding }];
    expect(rules({ bindings }, 'prerouting')).toEqual([rule]);
    expect(rules({ bindings }, 'output')).toEqual([rule]);
  });
});
