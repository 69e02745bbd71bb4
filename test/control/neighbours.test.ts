/** From claims to the neighbour table and its listing: kinds, order, doubts that come and go, a network that closes. */
import { pino } from 'pino';
import { beforeEach, expect, it } from 'vitest';
import { gatewayMac } from '../../src/control/ipam/mac.js';
import { LOCAL_SOURCE, MacClaims } from '../../src/control/mac-claims.js';
import { type NeighbourNetwork, Neighbours } from '../../src/control/neighbours.js';
import {
  NEIGHBOUR_FLAG_ROUTER,
  NEIGHBOUR_GATEWAY,
  NEIGHBOUR_MISS,
  NeighbourTable,
  neighbourBytes,
} from '../../src/shared/neighbour-table.js';
import { ipv4ToNumber } from '../../src/wire/ip-address.js';

const VNI = 256;
const [ONE, TWO, THREE] = ['02:00:5e:10:00:01', '02:00:5e:10:00:02', '02:00:5e:10:00:03'] as const;
const VTEPS = [undefined, { address: '192.0.2.1', port: 4789 }, { address: '192.0.2.2', port: 4789 }];
let open: NeighbourNetwork;
let neighbours: Neighbours;
let table: NeighbourTable;
let logged: Record<string, unknown>[];

beforeEach(() => {
  logged = [];
  const logger = pino({ level: 'info' }, { write: (line: string) => void logged.push(JSON.parse(line)) });
  const buffer = new SharedArrayBuffer(neighbourBytes(8));
  neighbours = new Neighbours(buffer, logger);
  table = new NeighbourTable(buffer);
  open = network(3, VNI);
});

function network(index: number, vni: number): NeighbourNetwork {
  const claims: MacClaims = new MacClaims({
    won: () => undefined,
    conflict: () => undefined,
    addressWon: (address, winner) => neighbours.write(made, address, winner),
  });
  const made = { index, network: { name: `n${index}`, vni }, claims };
  return made;
}

/** As forwarding-tables.ts does it. */
function publish(source: string, vtepIndex: number, ...endpoints: [string, number, ...string[]][]): void {
  const claims = endpoints.map(([mac, since, ...addresses]) => ({ mac, since, addresses }));
  open.claims.replace(source, vtepIndex, claims);
  neighbours.reaffirm(open, source);
}

const listed = (...networks: NeighbourNetwork[]) =>
  neighbours
    .list(networks.length === 0 ? [open] : networks, (index) => VTEPS[index])
    .map(({ address, mac, kind, node, vtep }) => [address, mac, kind, node, vtep?.address].filter(Boolean).join(' '));

it('lists what workers answer from, with who has published it', () => {
  const gateway = gatewayMac(VNI);
  publish(LOCAL_SOURCE, 0, [ONE, 0, '10.0.0.2', 'fd00::2'], [gateway, 0, '10.0.0.1', 'fd00::1']);
  publish('node/b', 1, [TWO, 5, '10.0.0.10', 'fd00::a']);
  expect(listed()).toEqual([
    `10.0.0.1 ${gateway} gateway`,
    `10.0.0.2 ${ONE} local`,
    `10.0.0.10 ${TWO} remote b 192.0.2.1`,
    `fd00::1 ${gateway} gateway`,
    `fd00::2 ${ONE} local`,
    `fd00::a ${TWO} remote b 192.0.2.1`,
  ]);
  expect(table.lookupIpv4(3, ipv4ToNumber('10.0.0.1') | 0)).toBe(NEIGHBOUR_GATEWAY | NEIGHBOUR_FLAG_ROUTER);
  // The host has another address now.
  publish('node/b', 2, [TWO, 5, '10.0.0.10']);
  expect(listed().filter((line) => line.includes('remote'))).toEqual([`10.0.0.10 ${TWO} remote b 192.0.2.2`]);
});

it('gives an address to the newer endpoint, and back when that one goes', () => {
  publish('node/b', 1, [ONE, 5, '10.0.0.10']);
  publish('node/c', 2, [TWO, 9, '10.0.0.10']);
  expect(listed()).toEqual([`10.0.0.10 ${TWO} remote c 192.0.2.2`]);
  publish('node/c', 2);
  expect(listed()).toEqual([`10.0.0.10 ${ONE} remote b 192.0.2.1`]);
  publish(LOCAL_SOURCE, 0, [THREE, 1, '10.0.0.10']);
  expect(listed()).toEqual([`10.0.0.10 ${THREE} local`]);
});

it('floods what is in doubt, until its host publishes again or another has the address', () => {
  const state = () => listed().map((line) => line.split(' ')[0]);
  publish('node/b', 1, [ONE, 5, '10.0.0.10', 'fd00::a'], [TWO, 5, '10.0.0.11']);
  neighbours.doubt(open, ONE, '192.0.2.1');
  neighbours.doubt(open, ONE, '192.0.2.1');
  expect(state()).toEqual(['10.0.0.11']);
  expect(table.lookupIpv4(3, ipv4ToNumber('10.0.0.10') | 0)).toBe(NEIGHBOUR_MISS);
  expect(logged).toMatchObject([{ event: 'neighbours.doubted', mac: ONE, addresses: ['10.0.0.10', 'fd00::a'] }]);
  // Another host's news are none of it.
  publish('node/c', 2, [THREE, 1, '10.0.0.12']);
  expect(state()).toEqual(['10.0.0.11', '10.0.0.12']);
  publish('node/b', 1, [ONE, 5, '10.0.0.10', 'fd00::a']);
  expect(state()).toEqual(['10.0.0.10', '10.0.0.12', 'fd00::a']);
  neighbours.doubt(open, ONE, undefined);
  publish('node/c', 2, [THREE, 9, '10.0.0.10']);
  expect(listed()).toEqual([`10.0.0.10 ${THREE} remote c 192.0.2.2`]);
  publish('node/c', 2);
  // Published since, but nothing new was said of the other address.
  expect(state()).toEqual(['10.0.0.10']);
});

it('doubts nothing that is here, nor what nobody knows', () => {
  publish(LOCAL_SOURCE, 0, [ONE, 0, '10.0.0.2']);
  publish('node/b', 1, [ONE, 9, '10.0.0.10']);
  neighbours.doubt(open, TWO, undefined);
  neighbours.doubt(undefined, ONE, undefined);
  expect(listed()).toEqual([`10.0.0.2 ${ONE} local`, `10.0.0.10 ${ONE} remote b 192.0.2.1`]);
  neighbours.doubt(open, ONE, undefined);
  expect(listed()).toEqual([`10.0.0.2 ${ONE} local`]);
});

it('says once that the table is full', () => {
  const addresses = Array.from({ length: 20 }, (_, i) => `10.0.0.${i + 1}`);
  publish('node/b', 1, [ONE, 5, ...addresses]);
  expect(listed()).toHaveLength(12);
  expect(logged).toMatchObject([{ event: 'neighbours.full', network: 'n3' }]);
});

it('forgets a network that closes, and no other', async () => {
  const other = network(4, 257);
  other.claims.replace('node/b', 1, [{ mac: TWO, since: 1, addresses: ['10.0.0.10'] }]);
  publish('node/b', 1, [ONE, 5, '10.0.0.10', 'fd00::a']);
  neighbours.doubt(open, ONE, undefined);
  await neighbours.removeNetwork(open);
  expect(listed(open, other)).toEqual([`10.0.0.10 ${TWO} remote b 192.0.2.1`]);
});
