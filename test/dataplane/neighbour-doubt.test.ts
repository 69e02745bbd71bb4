/** Frames from the tunnel that use a registered address with another MAC are told, and delivered like all others. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EVENT_LEARN, EVENT_NEIGHBOUR_DOUBT } from '../../src/shared/event-ring.js';
import { fdbKeyHigh, KIND_STATIC } from '../../src/shared/fdb.js';
import { NEIGHBOUR_GATEWAY, NEIGHBOUR_LOCAL, NEIGHBOUR_REMOTE } from '../../src/shared/neighbour-table.js';
import { macHigh16, macLow32 } from '../../src/wire/mac.js';
import { ALL_OFFLOADS, Harness, NO_OFFLOADS, tapMessage, vxlanDatagram } from './harness.js';
import { arpFrame, ipBytes, neighbourFrame, tagged, targetOption } from './neighbour-frames.js';

const PORT = 24_809;
const OWNER = '02:00:00:00:00:0b';
const OTHER = '02:00:00:00:00:0c';
const ALL_NODES = { destination: 'ff02::1', to: '33:33:00:00:00:01' };
let harness: Harness;
let peer: number;

function open(suppression: boolean, offloads = NO_OFFLOADS): void {
  harness = new Harness(PORT, { suppression, offloads });
  peer = harness.addPeer(2);
  for (const [ip, kind] of [
    ['10.0.0.11', NEIGHBOUR_REMOTE],
    ['fd00::b', NEIGHBOUR_REMOTE],
    ['10.0.0.13', NEIGHBOUR_LOCAL],
    ['10.0.0.1', NEIGHBOUR_GATEWAY],
  ] as const) {
    const entry = { macLow: macLow32(OWNER), macHigh16: macHigh16(OWNER), kind, router: false };
    harness.neighbours.set(harness.networkIndex, Uint8Array.from(ipBytes(ip)), entry);
  }
  // Both are registered behind the peer, so that nothing is learnt.
  for (const mac of [OWNER, OTHER]) {
    harness.fdb.set(macLow32(mac), fdbKeyHigh(macHigh16(mac), harness.networkIndex), KIND_STATIC, peer, 0);
  }
}

beforeEach(() => open(true));
afterEach(() => harness.close());

/** @returns the events that the frame has made: type, MAC, VTEP. */
function receive(frame: Uint8Array): number[][] {
  harness.fromPeer(peer, vxlanDatagram(frame));
  expect(harness.toContainer()).toEqual([tapMessage(frame)]);
  const events: number[][] = [];
  harness.context.events.drain((type, network, low, high, vtep) => {
    expect(network).toBe(harness.networkIndex);
    events.push([type, high, low, vtep]);
  });
  return events;
}

const arp = (from: string, sender: string, target = sender, operation = 1) =>
  arpFrame({ from, sender, target, operation });
const advert = (from: string, target: string, options = targetOption(from)) =>
  neighbourFrame({ ...ALL_NODES, from, source: target, type: 136, flags: 0x20, target, options });

describe('an address that is registered with another MAC', () => {
  it.each([
    ['announced by ARP', arp(OTHER, '10.0.0.11')],
    ['used in a request', arp(OTHER, '10.0.0.11', '10.0.0.50')],
    ['used in a reply', arp(OTHER, '10.0.0.11', '10.0.0.50', 2)],
    ['advertised', advert(OTHER, 'fd00::b')],
  ])('is told, with the MAC that it is registered with: %s', (_title, frame) => {
    const event = [EVENT_NEIGHBOUR_DOUBT, macHigh16(OWNER), macLow32(OWNER), peer];
    expect(receive(frame)).toEqual([event]);
    // Once a second.
    expect(receive(frame)).toEqual([]);
    harness.context.nowSeconds++;
    expect(receive(frame)).toEqual([event]);
  });
});

describe('nothing is told of', () => {
  it.each([
    ['the registered MAC', arp(OWNER, '10.0.0.11')],
    ['the registered MAC, advertised', advert(OWNER, 'fd00::b')],
    ['an address that nobody has registered', arp(OTHER, '10.0.0.99')],
    ['one that nobody has registered, advertised', advert(OTHER, 'fd00::99')],
    ['an address of this host', arp(OTHER, '10.0.0.13')],
    ['the gateway', arp(OTHER, '10.0.0.1')],
    ['ARP of another kind', arp(OTHER, '10.0.0.11').with(15, 6)],
    ['ARP that is cut short', arp(OTHER, '10.0.0.11').slice(0, 40)],
    ['tagged ARP', tagged(arp(OTHER, '10.0.0.11'))],
    ['an advertisement without a MAC', advert(OTHER, 'fd00::b', [])],
    ['an advertisement with a broken option', advert(OTHER, 'fd00::b', [2, 0, 2, 0, 0, 0, 0, 12])],
    ['an advertisement longer than its frame', advert(OTHER, 'fd00::b').with(19, 200)],
    ['a solicitation', neighbourFrame({ from: OTHER, source: 'fd00::b', target: 'fd00::c' })],
  ])('%s', (_title, frame) => {
    expect(receive(frame)).toEqual([]);
  });

  it('a network without suppression', () => {
    harness.close();
    open(false);
    expect(receive(arp(OTHER, '10.0.0.11'))).toEqual([]);
  });
});

it('is told of any frame of a train', () => {
  harness.close();
  open(true, ALL_OFFLOADS);
  const frames = [arp(OTHER, '10.0.0.99'), arp(OTHER, '10.0.0.98'), arp(OTHER, '10.0.0.11')];
  harness.trainsFromPeer(peer, [frames.map((frame) => vxlanDatagram(frame))]);
  expect(harness.toContainer()).toEqual(frames.map((frame) => tapMessage(frame)));
  const types: number[] = [];
  harness.context.events.drain((type) => types.push(type));
  expect(types).toEqual([EVENT_NEIGHBOUR_DOUBT]);
});

it('is told besides what is learnt', () => {
  harness.fdb.remove(macLow32(OTHER), fdbKeyHigh(macHigh16(OTHER), harness.networkIndex));
  expect(receive(arp(OTHER, '10.0.0.11')).map(([type]) => type)).toEqual([EVENT_LEARN, EVENT_NEIGHBOUR_DOUBT]);
});
