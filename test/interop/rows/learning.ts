/** Who is behind which VTEP: what vtepd learns of the kernel, and the kernel of vtepd. */
import { expect } from 'vitest';
import type { Lab } from '../lab.js';
import { packet } from '../packets.js';
import { GHOST_MAC, KERNEL_MAC, PLACES, STRANGER, VTEP_A, VTEP_GHOST, VTEP_KERNEL, VTEP_SECOND } from '../places.js';
import { type Case, type Decoded, type Group, type Scenario, type Scene, until } from '../table.js';

const ROAMER = '02:00:5e:00:01:01';
/** Heard once, at the start, and looked at when all else is played. */
const QUIET = '02:00:5e:00:01:02';

const entryOf = async (lab: Lab, mac: string) => (await lab.fdb('mixed')).find((entry) => entry.mac === mac);

const isBehind = (lab: Lab, mac: string, address: string) =>
  until(`${mac} behind ${address}`, async () => (await entryOf(lab, mac))?.vtep?.address === address);

const isSecond = ({ address }: { address: string }) => address === VTEP_SECOND;

async function hear(lab: Lab, scene: Scene, mac: string, source: string): Promise<void> {
  const frame = packet({ from: mac, to: scene.box }, Uint8Array.of(0, 1, 2, 3));
  // Until it is heard: a peer that has just been added may not be in the tables yet.
  await until(`${mac} behind ${source}`, async () => {
    for (const outer of scene.tunnel(frame, { source })) await lab.sendOnWire(outer);
    return (await entryOf(lab, mac))?.vtep?.address === source;
  });
}

/** After it was heard from there, frames for the MAC go there, and nowhere else. */
const follows = (name: string, mac: string, source: string): Scenario => ({
  name,
  play: async (lab, scene) => {
    await hear(lab, scene, mac, source);
    await lab.sendFromContainer('mixed', packet({ from: scene.box, to: mac }, scene.mark));
  },
  wire: { 'ip.dst': source },
});

export const LEARNING: Group = {
  name: 'learning',
  setUp: async (lab) => {
    await lab.makeKernel('mixed');
  },
  cases: [
    {
      name: 'a MAC is learnt from the first frame',
      play: async (lab, scene) => {
        await lab.sendFromKernel('mixed', packet(scene.toBox, scene.mark));
        await isBehind(lab, KERNEL_MAC, VTEP_KERNEL);
        expect(await entryOf(lab, KERNEL_MAC)).toMatchObject({ kind: 'dynamic' });
        await hear(lab, scene, QUIET, VTEP_SECOND);
      },
    },
    follows('frames for it go to its VTEP alone', ROAMER, VTEP_KERNEL),
    follows('it moves at once when it is heard from another', ROAMER, VTEP_SECOND),
    follows('and back', ROAMER, VTEP_KERNEL),
    {
      name: 'it goes with the peer that it was learnt from, and frames for it are flooded to the others',
      play: async (lab, scene) => {
        await hear(lab, scene, ROAMER, VTEP_SECOND);
        await lab.call('POST', '/v1/peers/remove', { network: 'mixed', address: VTEP_SECOND });
        try {
          await until('the peer to be gone', async () => !(await lab.status()).vteps.some(isSecond));
          await until('it to be forgotten', async () => (await entryOf(lab, ROAMER)) === undefined);
          await lab.sendFromContainer('mixed', packet({ from: scene.box, to: ROAMER }, scene.mark));
          await until('the copies', () => lab.atKernel.mixed.with(scene.mark).length === 2);
        } finally {
          await lab.call('POST', '/v1/peers', { network: 'mixed', address: VTEP_SECOND });
        }
        await hear(lab, scene, QUIET, VTEP_SECOND);
      },
      datagrams: 2,
      rows: (rows) => expect(destinations(rows)).toEqual([VTEP_KERNEL, VTEP_GHOST]),
    },
    {
      name: 'a registered MAC is not learnt elsewhere, and frames for it go to its host',
      play: async (lab, scene) => {
        const frame = packet({ from: GHOST_MAC, to: scene.box }, Uint8Array.of(0, 1, 2, 3));
        for (const outer of scene.tunnel(frame, { source: VTEP_SECOND })) await lab.sendOnWire(outer);
        await hear(lab, scene, ROAMER, VTEP_SECOND);
        expect(await entryOf(lab, GHOST_MAC)).toMatchObject({ kind: 'static', vtep: { address: VTEP_GHOST } });
        await lab.sendFromContainer('mixed', packet({ from: scene.box, to: GHOST_MAC }, scene.mark));
      },
      wire: { 'ip.dst': VTEP_GHOST },
    },
    {
      name: 'a hundred MACs of one VTEP',
      play: async (lab, scene) => {
        const macs = Array.from({ length: 100 }, (_, i) => `02:00:5e:00:02:${i.toString(16).padStart(2, '0')}`);
        for (const mac of macs) {
          const frame = packet({ from: mac, to: scene.box }, scene.mark);
          for (const outer of scene.tunnel(frame)) await lab.sendOnWire(outer);
        }
        await until('all of them', async () => {
          const known = new Set((await lab.fdb('mixed')).map(({ mac }) => mac));
          return macs.every((mac) => known.has(mac));
        });
      },
      datagrams: 100,
    },
    {
      name: 'a flooded frame goes once to each member, and not to the sender',
      from: 'container',
      frames: (s) => [packet({ from: s.box, to: 'ff:ff:ff:ff:ff:ff' }, s.mark)],
      arrives: (sent) => [...sent, ...sent, ...sent],
      datagrams: 3,
      rows: (rows) => expect(destinations(rows)).toEqual([VTEP_KERNEL, VTEP_SECOND, VTEP_GHOST]),
    },
    {
      name: 'the kernel learns the container behind vtepd',
      play: async (lab, scene) => {
        await lab.sendFromContainer('mixed', packet(scene.toKernel, scene.mark));
        const isLearnt = async () => (await lab.shell('b', 'bridge fdb show dev vx0')).includes(`${scene.box} dst`);
        await until('the entry', isLearnt);
        expect(await lab.shell('b', 'bridge fdb show dev vx0')).toContain(`${scene.box} dst ${VTEP_A}`);
      },
    },
    {
      name: 'what a container sends does not keep an entry young, what comes does',
      play: async (lab, scene) => {
        const idle = async () => (await entryOf(lab, QUIET))?.idleSeconds ?? 0;
        await until('two seconds to pass', async () => {
          await lab.sendFromContainer('mixed', packet({ from: scene.box, to: QUIET }, Uint8Array.of(0, 1, 2, 3)));
          return (await idle()) >= 2;
        });
        const frame = packet({ from: QUIET, to: scene.box }, scene.mark);
        for (const outer of scene.tunnel(frame, { source: VTEP_SECOND })) await lab.sendOnWire(outer);
        await until('it to be young again', async () => (await idle()) < 2);
      },
    },
  ],
};

const destinations = (rows: readonly Decoded[]) => rows.map((row) => row['ip.dst']?.[0]).sort();

/** A device that is told otherwise; vtepd takes its frames, or refuses them by name. */
function device(name: string, settings: Parameters<Lab['makeKernel']>[1], cases: Group['cases'], then = ''): Group {
  return {
    name: `the kernel's device ${name}`,
    setUp: async (lab) => {
      await lab.makeKernel('mixed', settings);
      if (then !== '') await lab.shell('b', then.replaceAll('BOX', lab.containers.mixed.mac));
    },
    cases,
  };
}

const fromKernel = (name: string, more: Partial<Case> = {}): Case => ({
  name,
  from: 'kernel',
  frames: (scene) => [packet(scene.toBox, scene.mark)],
  ...more,
});
const fromContainer: Case = {
  name: 'the container reaches it',
  from: 'container',
  frames: (scene) => [packet(scene.toKernel, scene.mark)],
};

export const DEVICES: readonly Group[] = [
  device('with another VNI', { vni: 4300 }, [
    fromKernel('its frames are for no network here', { arrives: 'nothing', drops: { vni_not_found: 1 } }),
  ]),
  device('with the address of no peer', { address: STRANGER }, [
    fromKernel('its frames are refused', { arrives: 'nothing', drops: { vtep_not_member: 1 } }),
  ]),
  device('with the address of the second peer', { address: VTEP_SECOND }, [
    fromKernel('its frames arrive', { wire: { 'ip.src': VTEP_SECOND } }),
    {
      name: 'the container reaches it there',
      play: async (lab, scene) => {
        await isBehind(lab, KERNEL_MAC, VTEP_SECOND);
        await lab.sendFromContainer('mixed', packet(scene.toKernel, scene.mark));
      },
      wire: { 'ip.dst': VTEP_SECOND },
    },
  ]),
  device(
    'without learning, with an entry of its own',
    { vxlan: 'nolearning' },
    [fromKernel('its frames arrive'), fromContainer],
    `bridge fdb del 00:00:00:00:00:00 dev vx0 dst ${VTEP_A}; bridge fdb add BOX dev vx0 dst ${VTEP_A}`,
  ),
  device('with remote checksum offload', { vxlan: 'learning remcsumtx remcsumrx udpcsum' }, [
    fromKernel('a finished frame has nothing to be offloaded, and arrives'),
    {
      name: 'what its host leaves undone has a flag that nobody here knows, and is refused',
      play: async (lab, scene) => {
        const before = (await lab.status()).drops.reserved_bits as number;
        const text = [...scene.mark].map((byte) => `\\x${byte.toString(16)}`).join('');
        await lab.shell('b', `printf '${text}' > /dev/udp/${PLACES.mixed.subnet}.2/9`);
        await until('the drop', async () => (await lab.status()).drops.reserved_bits === before + 1);
        expect(lab.atContainer.mixed.with(scene.mark)).toEqual([]);
      },
      datagrams: 1,
      rows: ([row]) => expect(row?.['vxlan.flags']).not.toEqual(['0x0800']),
    },
    fromContainer,
  ]),
  device('that answers ARP itself (proxy, rsc)', { vxlan: 'learning proxy rsc' }, [
    fromKernel('its frames arrive'),
    fromContainer,
  ]),
  device('with group policy, of a frame without a mark', { vxlan: 'learning gbp' }, [
    fromKernel('its frames arrive, since the flag is not set', { wire: { 'vxlan.flags': '0x0800' } }),
    fromContainer,
  ]),
  device('that would take zero checksums over IPv6', { vxlan: 'learning udp6zerocsumtx udp6zerocsumrx' }, [
    fromKernel('its frames arrive'),
    fromContainer,
  ]),
  device('with a small table', { vxlan: 'learning maxaddress 1' }, [fromKernel('its frames arrive'), fromContainer]),
];
