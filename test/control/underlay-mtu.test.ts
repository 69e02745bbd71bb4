/** The underlay's MTU by its interface and by what `ip -json route get fibmatch` prints for the other VTEPs. */
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { routeMtuBytes, UnderlayMtu } from '../../src/control/underlay-mtu.js';

const plain =
  '[{"dst":"192.0.2.0/24","dev":"eth0","protocol":"kernel","scope":"link","prefsrc":"192.0.2.1","flags":[]}]';
const route = (mtu: number, dev = 'eth0') =>
  `[{"dst":"198.51.100.0/24","gateway":"192.0.2.9","dev":"${dev}","flags":[],"metrics":[{"mtu":${mtu}}]}]`;

describe('routeMtuBytes', () => {
  it.each([
    ['nothing', '', Number.POSITIVE_INFINITY],
    ['no metric', plain, Number.POSITIVE_INFINITY],
    ['the least of several', [plain, route(1400), route(1300)].join('\n'), 1300],
    ['none of another interface', [route(1400), route(1300, 'eth1')].join('\n'), 1400],
    ['an unreachable one between', [route(1400), '', 'Command failed -:2', plain].join('\n'), 1400],
    ['another metric', '[{"dst":"default","dev":"eth0","metrics":[{"advmss":1200}]}]', Number.POSITIVE_INFINITY],
    ['a route without a device', '[{"dst":"192.0.2.7","type":"unreachable"}]', Number.POSITIVE_INFINITY],
  ])('%s', (_name, output, expected) => {
    expect(routeMtuBytes(output, 'eth0')).toBe(expected);
  });
});

describe('UnderlayMtu', () => {
  it('tells the first, and each that is another', async () => {
    const told: number[] = [];
    const asked: string[][] = [];
    let routes = plain;
    let peers: string[] = [];
    const mtu = new UnderlayMtu({
      ...{ interface: 'eth0', logger: pino({ level: 'silent' }), peers: () => peers },
      onMtu: async (bytes) => void told.push(bytes),
      routesTo: async (ips) => {
        asked.push([...ips]);
        return routes;
      },
    });
    await mtu.look(1500);
    expect([told, asked]).toEqual([[1500], []]);
    peers = ['198.51.100.1', '192.0.2.2'];
    await mtu.look(1500);
    routes = `${plain}\n${route(1400)}`;
    await mtu.look(1500);
    await mtu.look(1500);
    // Not there for a moment.
    await mtu.look(undefined);
    await mtu.look(1300);
    routes = plain;
    await mtu.look(9000);
    expect(told).toEqual([1500, 1400, 1300, 9000]);
    expect(asked[0]).toEqual(peers);
  });
});
