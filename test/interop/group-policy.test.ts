/**
 * The kernel's VXLAN with group policy ids (`ip link add ... gbp`) as a peer: the id that nftables puts on a packet there
 * (its mark) is the group here, and the container's group is the mark there; rules hold for what comes. And a peer that
 * floods with ever new source MACs: the limit of what is learnt holds, and nothing is lost.
 */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { FrameListener, interfaceIndex, sendCommand } from '../control/ports/spoofs.js';
import { type Container, createHostPair, type HostPair, waitFor } from '../e2e/host-pair.js';

const VNI = '4243';
const KERNEL_IP = '10.0.0.99';
const GROUP = 0x102;
const LEARNT_MAX = 20;
const FLOOD = 150;

let pair: HostPair;
let box: Container;
let mute: Container;

beforeAll(async () => {
  pair = await createHostPair({ startDaemons: false });
  await pair.startDaemon('a');
  const vxlan = `type vxlan id ${VNI} dstport 4789 local 192.0.2.2 dev ens33 gbp`.split(' ');
  await pair.mustExec('b', 'ip', 'link', 'add', 'vx0', ...vxlan);
  await pair.mustExec('b', 'bridge', 'fdb', 'append', '00:00:00:00:00:00', 'dev', 'vx0', 'dst', '192.0.2.1');
  await pair.mustExec('b', 'ip', 'addr', 'add', `${KERNEL_IP}/24`, 'dev', 'vx0');
  await pair.mustExec('b', 'ip', 'link', 'set', 'vx0', 'mtu', '1450', 'up');
  await pair.mustExec(
    'b',
    'nft',
    `table inet m {
      chain out { type route hook output priority mangle; }
      chain in { type filter hook input priority filter; iifname "vx0" meta mark ${GROUP} counter; iifname "vx0" meta mark 0 counter; }
    }`,
  );
  const groups = ['--group-policy', 'on', '--allow-groups', `17:${GROUP},0:${GROUP},0:0`];
  const limit = ['--max-learnt-macs', String(LEARNT_MAX), '--arp-suppression', 'off'];
  await pair.mustVtep('a', 'network', 'create', 'n', '--vni', VNI, '--subnet', '10.0.0.0/24', ...groups, ...limit);
  await pair.mustVtep('a', 'peer', 'add', '--network', 'n', '--address', '192.0.2.2');
  box = await pair.addContainer('a', 'box', 'n', '--group', String(GROUP));
  mute = await pair.addContainer('a', 'mute', 'n');
});
afterAll(async () => {
  await pair?.cleanup();
});

/** What the kernel's packets have as their mark from now on: A is bit 19, D bit 22. */
async function mark(value: number): Promise<void> {
  await pair.mustExec('b', 'nft', 'flush chain inet m out');
  await pair.mustExec('b', 'nft', `add rule inet m out oifname "vx0" meta mark set ${value}`);
}

const pings = async (address: string) => (await pair.ping('b', address, { count: 2 })).received > 0;
const counter = async (name: string): Promise<number> => {
  const { networks } = (await pair.mustVtep('a', 'status', '--json')).json();
  return networks[0].counters[name] ?? 0;
};

it("the container's group is the mark of what it sends, as the kernel sees it", async () => {
  await mark(17);
  await waitFor('a ping from the kernel', () => pings(box.ip));
  const [tagged, untagged] = await marksSeen();
  expect(tagged).toBeGreaterThan(0);
  // A container without a group: no mark.
  await mark(0);
  await waitFor('a ping from the kernel', () => pings(mute.ip));
  expect((await marksSeen())[1]).toBeGreaterThan(untagged!);
  const { stdout } = await pair.mustVtep('a', 'endpoint', 'ls');
  expect(stdout).toMatch(new RegExp(`box \\(group ${GROUP}\\)`));
});

it.each([
  ['a group that may talk to it', 17, true],
  ['one that may not', 18, false],
  ['one that may not, with the policy applied (A)', 0x80012, true],
  ['no group, which may', 0, true],
])('hears %s', async (_what, value, hears) => {
  await mark(value);
  const before = await counter('drop_group_policy');
  expect(await pings(box.ip)).toBe(hears);
  expect((await counter('drop_group_policy')) > before).toBe(!hears);
});

it('groups need a network that has a group policy', async () => {
  await pair.mustVtep('a', 'network', 'create', 'plain');
  await pair.addNamespace('late');
  const attach = await pair.vtep('a', 'attach', '--network', 'plain', '--netns', pair.netns('late'), '--group', '7');
  expect(attach.stderr).toMatch(/network "plain" has no group policy/);
  const create = await pair.vtep('a', 'network', 'create', 'x', '--allow-groups', '1:2');
  expect(create.stderr).toMatch(/--allow-groups.*needs a group policy/);
});

it('learns no more MACs than the network may, says so once, and loses no frame', async () => {
  const exec = (...command: string[]) => pair.mustExec('b', command[0]!, ...command.slice(1));
  const inBox = (...command: string[]) => pair.mustExec('box', command[0]!, ...command.slice(1));
  const listener = new FrameListener(box.netns, await interfaceIndex(inBox, box.interface));
  try {
    await waitFor('the listener', () => listener.isReady());
    const flood = Array.from({ length: FLOOD }, (_, i) => {
      const mac = `02${randomBytes(5).toString('hex')}`;
      const seen = `${mac}88b5f100d${i.toString(16).padStart(3, '0')}`;
      return { name: String(i), mark: seen, frame: `ffffffffffff${seen}` };
    });
    await exec(...sendCommand(await interfaceIndex(exec, 'vx0'), flood));
    await waitFor('all frames', () => flood.every((one) => listener.hasSeen(one)));
    await waitFor('learning to be refused', async () => (await counter('macs_not_learnt')) >= FLOOD - LEARNT_MAX);
    const fdb = (await pair.mustVtep('a', 'fdb', '--json')).json() as { kind: string }[];
    expect(fdb.filter(({ kind }) => kind === 'dynamic')).toHaveLength(LEARNT_MAX);
    expect(pair.log('vtepd-a').match(/network "n" learns no more MACs/g)).toHaveLength(1);
    await mark(17);
    expect(await pings(box.ip)).toBe(true);
  } finally {
    await listener.stop();
  }
});

/** Packets that the kernel has got with the container's group as their mark, and without one. */
async function marksSeen(): Promise<number[]> {
  const { stdout } = await pair.mustExec('b', 'nft', 'list', 'chain', 'inet', 'm', 'in');
  return [...stdout.matchAll(/counter packets (\d+)/g)].map(([, packets]) => Number(packets));
}
