/**
 * Streams, datagrams and superframes against each state of the kernel's offloads: what its devices leave undone, vtepd
 * finishes or hands on, both ways and in both families, byte for byte.
 */
import { expect } from 'vitest';
import { waitFor } from '../../e2e/host-pair.js';
import { type Lab, PLACES } from '../lab.js';
import type { Group, Scenario } from '../table.js';

const PEER = new URL('../offload-peer.mjs', import.meta.url).pathname;
const PORT = '7300';
const PLAN = { tcp: [1, 1400, 300_000], udp: [1, 1402, 1403, 1422, 4000], segmented: [{ segments: 20, bytes: 1000 }] };
const { device, container, subnet, subnet6 } = PLACES.bulk;

async function expectExact(lab: Lab, from: string, host: string): Promise<void> {
  const addresses = [`${subnet}.${host}`, `${subnet6}:${host}`];
  const client = [PEER, 'client', PORT, JSON.stringify(PLAN), ...addresses];
  expect((await lab.pair.mustExec(from, process.execPath, ...client)).json()).toEqual([]);
}

/** The peer answers with as many bytes, so one client at one end tries both ways. */
const withOffloads = (name: string, change: string, restore: string): Scenario => ({
  name,
  play: async (lab) => {
    await lab.shell('b', change);
    try {
      await expectExact(lab, container, '100');
    } finally {
      await lab.shell('b', restore);
    }
  },
});

const without = (dev: string, ...features: string[]): Scenario => {
  const set = (value: string) => `ethtool -K ${dev} ${features.map((feature) => `${feature} ${value}`).join(' ')}`;
  return withOffloads(`without ${features.join(', ')} of ${dev}`, set('off'), set('on'));
};

export const OFFLOADS: Group = {
  name: 'offloads of the kernel',
  setUp: async (lab) => {
    await lab.makeKernel('bulk');
    for (const where of ['b', container]) {
      lab.pair.spawn(`peer-${where}`, lab.pair.netns(where), process.execPath, PEER, 'server', PORT);
      await waitFor(`the server in ${where}`, () => lab.pair.log(`peer-${where}`).includes('ready'));
    }
  },
  cases: [
    {
      name: 'all as they are, from the container and from the kernel',
      play: async (lab) => {
        await expectExact(lab, container, '100');
        await expectExact(lab, 'b', '2');
        const { totals } = await lab.status();
        expect(totals.superframes_split).toBeGreaterThan(0);
        expect([totals.tap_gso_refused, totals.checksums_wrong]).toEqual([0, 0]);
      },
    },
    without(device, 'tso'),
    without(device, 'tx-udp-segmentation'),
    without(device, 'gso'),
    without(device, 'gro'),
    without(device, 'tso', 'gso', 'tx'),
    without(device, 'sg'),
    without('ens33', 'tx-udp_tnl-segmentation', 'tx-udp_tnl-csum-segmentation'),
    without('ens33', 'tx'),
    without('ens33', 'gso', 'tso'),
    without('ens33', 'gro'),
  ],
};

export const OFFLOADS_WITHOUT_CHECKSUM: Group = {
  name: 'offloads of the kernel, its UDP checksums off',
  setUp: (lab) => lab.makeKernel('bulk', { vxlan: 'learning noudpcsum' }),
  cases: [
    {
      name: 'all as they are, from the container and from the kernel',
      play: async (lab) => {
        await expectExact(lab, container, '100');
        await expectExact(lab, 'b', '2');
      },
    },
    without(device, 'tso', 'gso', 'tx'),
    without('ens33', 'tx-udp_tnl-segmentation', 'tx-udp_tnl-csum-segmentation'),
  ],
};
