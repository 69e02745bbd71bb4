/**
 * Who has a MAC, and who an address: a model test from readings of the registry through RemoteTable and MacClaims to an FDB
 * and a neighbour table, against a reference that looks at the whole registry; and the conflicts that are told.
 */
import fc from 'fast-check';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { LOCAL_SOURCE, type MacClaim, MacClaims } from '../../src/control/mac-claims.js';
import { RemoteTable } from '../../src/control/reconcile/remote-table.js';
import type { RegistryEntry } from '../../src/control/registry/registry.js';
import { FakeForwarding } from './fake-forwarding.js';

const NODES = ['a', 'b', 'c'] as const;
const MACS = ['02:00:5e:10:00:01', '02:00:5e:10:00:02', '02:00:5e:10:00:03'];
const ADDRESSES = ['10.0.0.2', '10.0.0.3', 'fd00::2'];
const LOCAL_VTEP = 0;

/** What an endpoint has been published with. */
interface Published {
  readonly attachedAt: number;
  readonly address: string;
}

/** Forwarding whose FDB and neighbour table are maps. An address never names a MAC that has no entry. */
class MapForwarding extends FakeForwarding {
  readonly fdbByMac = new Map<string, string>();
  readonly neighbour = new Map<string, { source: string; mac: string }>();
  readonly conflicts: string[] = [];
  readonly claims = new MacClaims({
    won: (mac, winner) => {
      if (winner === undefined) {
        expect([...this.neighbour.values()].some((one) => one.mac === mac)).toBe(false);
        this.fdbByMac.delete(mac);
      } else this.fdbByMac.set(mac, winner.source);
    },
    conflict: (mac, source) => this.conflicts.push(`${mac} ${source}`),
    addressWon: (address, winner) => {
      if (winner === undefined) this.neighbour.delete(address);
      else {
        expect(this.fdbByMac.has(winner.mac)).toBe(true);
        this.neighbour.set(address, { source: winner.source, mac: winner.mac });
      }
    },
  });

  override setRemote(vni: number, source: string, vtep: { address: string; port: number }, macs: readonly MacClaim[]) {
    super.setRemote(vni, source, vtep, macs);
    this.claims.replace(source, Number(vtep.address.split('.').at(-1)), macs);
  }

  override removeRemote(vni: number, source: string) {
    super.removeRemote(vni, source);
    this.claims.replace(source, 0, []);
  }

  override setLocal(_vni: number, macs: readonly MacClaim[]) {
    this.claims.replace(LOCAL_SOURCE, LOCAL_VTEP, macs);
  }
}

let index = 1;
function entry(key: string, value: object, session: string): RegistryEntry {
  return { key, value: JSON.stringify({ v: 1, ...value }), createIndex: 1, modifyIndex: ++index, session };
}

const nodeEntry = (name: string) =>
  entry(
    `nodes/${name}`,
    { vtep: { ip: `192.0.2.${name.charCodeAt(0)}`, port: 4789 }, apiVersion: 1, features: [], instanceId: 'i' },
    name,
  );

const endpointsEntry = (name: string, published: ReadonlyMap<string, Published>) =>
  entry(
    `endpoints/blue/${name}`,
    {
      endpoints: [...published].map(([mac, { attachedAt, address }]) => ({
        ...{ id: mac, name: 'c', mac, addresses: [`${address}/24`] },
        ...(attachedAt === 0 ? {} : { attachedAt }),
      })),
    },
    name,
  );

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const step = fc.oneof(
  fc.record({
    kind: fc.constant('publish' as const),
    node: fc.constantFrom(...NODES),
    mac: fc.constantFrom(...MACS),
    attachedAt: fc.integer({ min: 0, max: 3 }),
    address: fc.constantFrom(...ADDRESSES),
  }),
  fc.record({
    kind: fc.constant('unpublish' as const),
    node: fc.constantFrom(...NODES),
    mac: fc.constantFrom(...MACS),
  }),
  fc.record({ kind: fc.constant('die' as const), node: fc.constantFrom(...NODES) }),
  fc.record({
    kind: fc.constant('local' as const),
    // Each has another of the addresses, turned by some.
    macs: fc.subarray(MACS),
    turn: fc.nat(2),
  }),
  fc.record({ kind: fc.constant('publish again' as const), node: fc.constantFrom(...NODES) }),
);

describe('MACs that several hosts claim', () => {
  it('are in the FDB as the whole registry says, whatever the order of changes', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const forwarding = new MapForwarding();
        forwarding.openNetwork({ name: 'blue', vni: 256, tapName: 't', mtuBytes: 1450, learning: true });
        const logger = pino({ level: 'silent' });
        const times = { holdMs: 30_000, settleMs: 250, windowMs: 0 };
        const table = new RemoteTable({
          families: [4],
          node: 'me',
          forwarding,
          logger,
          ...times,
          nowMs: () => Date.now(),
        });
        table.open('blue', 256);
        const live = new Map<string, Map<string, Published>>();
        const entries = new Map<string, RegistryEntry[]>();
        let local: MacClaim[] = [];
        const deliver = () => {
          const nodes = [nodeEntry('me'), ...[...entries.values()].map(([node]) => node!)];
          table.setNodes({ index: ++index, entries: nodes });
          table.setEndpoints(
            'blue',
            [...entries.values()].map(([, endpoints]) => endpoints!),
          );
          vi.advanceTimersByTime(1000);
        };
        const publish = (node: string) => entries.set(node, [nodeEntry(node), endpointsEntry(node, live.get(node)!)]);
        deliver();
        for (const action of steps) {
          if (action.kind === 'local') {
            local = action.macs.map((mac, i) => ({
              ...{ mac, since: 0, addresses: [ADDRESSES[(i + action.turn) % ADDRESSES.length]!] },
            }));
            forwarding.setLocal(256, local);
          } else if (action.kind === 'die') {
            live.delete(action.node);
            entries.delete(action.node);
          } else {
            const published = live.get(action.node) ?? new Map<string, Published>();
            live.set(action.node, published);
            if (action.kind === 'publish') published.set(action.mac, action);
            else if (action.kind === 'unpublish') published.delete(action.mac);
            publish(action.node);
          }
          deliver();
          expect(new Map([...forwarding.fdbByMac].sort())).toEqual(reference(live, local));
          expect(forwarding.neighbour).toEqual(addressReference(live, local));
        }
        table.stop();
      }),
      { numRuns: 300 },
    );
  });

  it('change hands without a moment of nobody, to the newer host and to a new address', () => {
    const history: (string | undefined)[] = [];
    const claims = new MacClaims({
      won: (_, winner) => history.push(winner && `${winner.source}@${winner.vtepIndex}`),
      conflict: () => undefined,
    });
    claims.replace('node/a', 1, [{ mac: MACS[0]!, since: 5 }]);
    claims.replace('node/a', 7, [{ mac: MACS[0]!, since: 5 }]);
    claims.replace('node/b', 2, [{ mac: MACS[0]!, since: 9 }]);
    // The old host publishes its list once more, for another reason.
    claims.replace('node/a', 7, [
      { mac: MACS[0]!, since: 5 },
      { mac: MACS[1]!, since: 9 },
    ]);
    claims.replace('node/a', 7, []);
    claims.replace('node/b', 2, []);
    expect(history).toEqual(['node/a@1', 'node/a@7', 'node/b@2', 'node/a@7', undefined, undefined]);
  });

  it('are told once if they are attached here too, while both last', () => {
    const forwarding = new MapForwarding();
    const { claims, conflicts } = forwarding;
    forwarding.setLocal(256, [{ mac: MACS[0]!, since: 0 }]);
    claims.replace('node/b', 2, [{ mac: MACS[0]!, since: 9 }]);
    claims.replace('node/b', 3, [{ mac: MACS[0]!, since: 9 }]);
    expect(conflicts).toEqual([`${MACS[0]} node/b`]);
    expect(forwarding.fdbByMac.get(MACS[0]!)).toBe(LOCAL_SOURCE);
    forwarding.setLocal(256, []);
    expect(forwarding.fdbByMac.get(MACS[0]!)).toBe('node/b');
    forwarding.setLocal(256, [{ mac: MACS[0]!, since: 0 }]);
    expect(conflicts).toHaveLength(2);
  });
});

/** The newest claim of those that live, by node name if they are equally old; this host's own before all. */
function reference(live: ReadonlyMap<string, ReadonlyMap<string, Published>>, local: readonly MacClaim[]) {
  const fdb = new Map<string, string>();
  for (const mac of MACS) {
    const claims = [...live]
      .filter(([, macs]) => macs.has(mac))
      .map(([node, macs]) => ({ node, at: macs.get(mac)!.attachedAt }));
    claims.sort((x, y) => y.at - x.at || (x.node < y.node ? 1 : -1));
    if (local.some((one) => one.mac === mac)) fdb.set(mac, LOCAL_SOURCE);
    else if (claims.length > 0) fdb.set(mac, `node/${claims[0]!.node}`);
  }
  return fdb;
}

/** The same for addresses; of a node's endpoints that are equally old the one that its list has last. */
function addressReference(live: ReadonlyMap<string, ReadonlyMap<string, Published>>, local: readonly MacClaim[]) {
  const neighbours = new Map<string, { source: string; mac: string }>();
  for (const address of ADDRESSES) {
    const claims = [...live].flatMap(([node, macs]) =>
      [...macs].flatMap(([mac, one], place) =>
        one.address === address ? [{ source: `node/${node}`, mac, at: one.attachedAt, place }] : [],
      ),
    );
    claims.sort((x, y) => y.at - x.at || (x.source === y.source ? y.place - x.place : x.source < y.source ? 1 : -1));
    const mine = local.find(({ addresses }) => addresses?.includes(address));
    if (mine !== undefined) neighbours.set(address, { source: LOCAL_SOURCE, mac: mine.mac });
    else if (claims.length > 0) neighbours.set(address, { source: claims[0]!.source, mac: claims[0]!.mac });
  }
  return neighbours;
}
