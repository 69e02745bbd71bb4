/**
 * Streams, datagrams and superframes against each state of the kernel's offloads: what its devices leave undone, vtepd
 * finishes or hands on, both ways and in both families, byte for byte.
 */
import { expect } from 'vitest';
import { waitFor } from '../../e2e/host-pair.js';
import type { Lab } from '../lab.js';
import { PLACES } from '../places.js';
import type { Group, Scenario } from '../table.js';

const PEER = new URL('../offload-peer.mjs', import.meta.url).pathname;
const PORT = '7300';
type BulkName = 'bulk' | 'bulk6';
const PLAN = { tcp: [1, 1400, 300_000], udp: [1, 1402, 1403, 1422, 4000], segmented: [{ segments: 20, bytes: 1000 }] };

async function expectExact(lab: Lab, from: string, host: string, name: BulkName): Promise<void> {
  const { subnet, subnet6 } = PLACES[name];
  const addresses = [`${subnet}.${host}`, `${subnet6}:${host}`];
  const client = [PEER, 'client', PORT, JSON.stringify(PLAN), ...addresses];
  expect((await lab.pair.mustExec(from, process.execPath, ...client)).json()).toEqual([]);
}

/** The peer answers with as many bytes, so one client at one end tries both ways. */
function without(name: BulkName, dev: string, ...features: string[]): Scenario {
  const set = (value: string) => `ethtool -K ${dev} ${features.map((feature) => `${feature} ${value}`).join(' ')}`;
  return {
    name: `without ${features.join(', ')} of ${dev}`,
    play: async (lab) => {
      await lab.shell('b', set('off'));
      try {
        await expectExact(lab, PLACES[name].container, '100', name);
      } finally {
        await lab.shell('b', set('on'));
      }
    },
  };
}

const allOn = (name: BulkName): Scenario => ({
  name: 'all as they are, from the container and from the kernel',
  play: async (lab) => {
    await expectExact(lab, PLACES[name].container, '100', name);
    await expectExact(lab, 'b', '2', name);
    const { totals } = await lab.status();
    expect(totals.superframes_split).toBeGreaterThan(0);
    expect([totals.tap_gso_refused, totals.checksums_wrong]).toEqual([0, 0]);
  },
});

async function startPeers(lab: Lab, name: BulkName): Promise<void> {
  for (const where of ['b', PLACES[name].container]) {
    if (lab.pair.log(`peer-${where}`) !== '') continue;
    lab.pair.spawn(`peer-${where}`, lab.pair.netns(where), process.execPath, PEER, 'server', PORT);
    await waitFor(`the server in ${where}`, () => lab.pair.log(`peer-${where}`).includes('ready'));
  }
}

export function offloads(groupName: string, name: BulkName, vxlan: string, few: boolean): Group {
  const { device } = PLACES[name];
  return {
    name: groupName,
    setUp: async (lab) => {
      await lab.makeKernel(name, { vxlan });
      await startPeers(lab, name);
    },
    cases: [
      allOn(name),
      without(name, device, 'tso', 'gso', 'tx'),
      without(name, 'ens33', 'tx-udp_tnl-segmentation', 'tx-udp_tnl-csum-segmentation'),
      ...(few
        ? []
        : [
            ...['tso', 'tx-udp-segmentation', 'gso', 'gro', 'sg'].map((feature) => without(name, device, feature)),
            without(name, 'ens33', 'tx'),
            without(name, 'ens33', 'gso', 'tso'),
            without(name, 'ens33', 'gro'),
          ]),
    ],
    // The next device may want another socket on the port.
    tearDown: (lab) => lab.removeKernel(name),
  };
}

export const OFFLOADS: readonly Group[] = [
  offloads('offloads of the kernel', 'bulk', 'learning', false),
  offloads('offloads of the kernel, its UDP checksums off', 'bulk', 'learning noudpcsum', true),
  offloads('offloads of the kernel over IPv6', 'bulk6', 'learning', true),
];
