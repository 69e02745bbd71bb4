/**
 * Port security over the tunnel and on one host: what a container forges reaches neither a container of the other host nor
 * its neighbour, also while no vtepd runs; `vtep status` tells at which port. A network without it carries all.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  dropsOf,
  FrameListener,
  fence,
  interfaceIndex,
  type Spoof,
  sendCommand,
  spoofs,
} from '../control/ports/spoofs.js';
import { type Container, createHostPair, type HostName, type HostPair, waitFor } from './host-pair.js';

const NETWORKS = ['held', 'loose'] as const;
type Net = (typeof NETWORKS)[number];
/** The network's gateway. */
const OTHER = { held: { ipv4: '10.0.0.1', ipv6: 'fd00::1' }, loose: { ipv4: '10.0.1.1', ipv6: 'fd00:1::1' } };

let pair: HostPair;
const boxes = {} as Record<Net, { sender: Container; ipv6: string; listeners: Record<string, FrameListener> }>;

beforeAll(async () => {
  pair = await createHostPair();
  const options = ['--arp-suppression', 'off'];
  const held = ['--subnet', '10.0.0.0/24', '--subnet', 'fd00::/64'];
  const loose = ['--subnet', '10.0.1.0/24', '--subnet', 'fd00:1::/64', '--port-security', 'off'];
  await pair.mustVtep('a', 'network', 'create', 'held', ...held, ...options);
  await pair.mustVtep('a', 'network', 'create', 'loose', ...loose, ...options);
  for (const network of NETWORKS) {
    const add = (host: HostName, name: string) => pair.addContainer(host, `${network}-${name}`, network);
    const sender = await add('a', 'sender');
    const listeners: Record<string, FrameListener> = {};
    const places = [['neighbour', 'a'] as const, ['other-host', 'b'] as const];
    for (const [place, host] of network === 'held' ? places : places.slice(1)) {
      const box = await add(host, place);
      const index = await interfaceIndex(
        (...command) => pair.mustExec(box.name, command[0]!, ...command.slice(1)),
        'eth0',
      );
      const listener = new FrameListener(box.netns, index);
      listeners[place] = listener;
      await waitFor(`a listener in ${box.name}`, () => listener.isReady());
    }
    await pair.waitConverged(network);
    const listed = (await pair.mustVtep('a', 'endpoint', 'ls', '--json')).json() as {
      id: string;
      addresses: string[];
    }[];
    const ipv6 = listed.find(({ id }) => id === sender.id)!.addresses[1]!.split('/')[0]!;
    boxes[network] = { sender, ipv6, listeners };
  }
});
afterAll(async () => {
  for (const { listeners } of Object.values(boxes)) {
    for (const listener of Object.values(listeners)) await listener.stop();
  }
  await pair?.cleanup();
});

async function send(network: Net, all: readonly Spoof[]): Promise<void> {
  const { name } = boxes[network].sender;
  const exec = (...command: string[]) => pair.mustExec(name, command[0]!, ...command.slice(1));
  await exec(...sendCommand(await interfaceIndex(exec, 'eth0'), all));
}

/** Sends all that there is. @returns the names of what arrived, by place */
async function attempt(network: Net, places: readonly string[]): Promise<Record<string, string[]>> {
  const { sender, ipv6, listeners } = boxes[network];
  const from = { mac: sender.mac, ipv4: sender.ip, ipv6 };
  const all = spoofs(from, OTHER[network]);
  const end = fence(from);
  for (const listener of Object.values(listeners)) listener.forget();
  await send(network, [...all, end]);
  const seen: Record<string, string[]> = {};
  for (const place of places) {
    const listener = listeners[place]!;
    await waitFor(`the last frame at ${place}`, () => listener.hasSeen(end));
    seen[place] = all.filter((spoof) => listener.hasSeen(spoof)).map(({ name }) => name);
  }
  return seen;
}

const ALL = spoofs({ mac: '02:00:00:00:00:01', ipv4: '10.0.0.9', ipv6: 'fd00::9' }, OTHER.held);
const ONCE = dropsOf(ALL);
const everything = ALL.map(({ name }) => name);
const allowed = ALL.filter(({ cause }) => cause === undefined).map(({ name }) => name);

it('lets only what is its own through, to a neighbour and through the tunnel', async () => {
  expect(await attempt('held', ['neighbour', 'other-host'])).toEqual({ neighbour: allowed, 'other-host': allowed });
  expect(await attempt('loose', ['other-host'])).toEqual({ 'other-host': everything });
  const status = (await pair.mustVtep('a', 'status', '--json')).json();
  const port = status.ports.find(({ id }: { id: string }) => id === boxes.held.sender.id);
  expect(port).toMatchObject({ network: 'held', name: 'held-sender', drops: ONCE });
  expect(status.drops).toMatchObject(ONCE);
  const ofHeld = status.networks.find(({ network }: { network: string }) => network === 'held').counters;
  expect(ofHeld).toMatchObject({
    drop_source_mac: ONCE.source_mac,
    drop_source_address: ONCE.source_address,
  });
  expect(status.portSecurity).toEqual({ ports: 2 });
  const drops = (await pair.mustVtep('a', 'status', '--drops')).stdout;
  expect(drops).toMatch(new RegExp(`^held +held-sender +vtep-p[0-9a-f]{8} +source_mac +${ONCE.source_mac}$`, 'm'));
});

it('tells what the kernel drops at the interfaces: a full TAP queue, a full socket, a container that takes less', async () => {
  const { sender } = boxes.held;
  const remote = pair.containers.find(({ name }) => name === 'held-other-host')!;
  expect(await pair.ping('held-other-host', sender.ip)).toMatchObject({ lossPercent: 0 });
  const pid = pair.daemonPid('a')!;
  process.kill(pid, 'SIGSTOP');
  try {
    const own = fence({ mac: sender.mac, ipv4: sender.ip, ipv6: boxes.held.ipv6 });
    // The TAP's queue holds 1000.
    await send(
      'held',
      Array.from({ length: 1500 }, () => own),
    );
    // 30 MB in datagrams: the socket's buffer holds 16.
    const flood = `head -c 30000000 /dev/zero | socat -u -b 1400 - UDP-SENDTO:${sender.ip}:9`;
    await pair.mustExec(remote.name, 'sh', '-c', flood);
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  await pair.mustExec('held-neighbour', 'ip', 'link', 'set', 'eth0', 'mtu', '600');
  await pair.ping(sender.name, pair.containers.find(({ name }) => name === 'held-neighbour')!.ip, {
    count: 2,
    args: ['-s', '1000'],
  });
  const status = (await pair.mustVtep('a', 'status', '--json')).json();
  const held = status.networks.find(({ network }: { network: string }) => network === 'held').counters;
  expect(held.drop_tap_queue_full).toBeGreaterThan(0);
  expect(held.drop_port_refused).toBeGreaterThan(0);
  expect(status.drops.underlay_overflow).toBeGreaterThan(0);
  const neighbour = status.ports.find(({ name }: { name: string }) => name === 'held-neighbour');
  expect(neighbour.drops.port_refused).toBe(held.drop_port_refused);
});

it('holds while no vtepd runs, goes on counting, and is taken up again', async () => {
  await pair.killDaemon('a', 'SIGKILL');
  expect(await attempt('held', ['neighbour'])).toEqual({ neighbour: allowed });
  await pair.startDaemon('a');
  const twice = { source_mac: 2 * ONCE.source_mac, source_address: 2 * ONCE.source_address };
  const { ports } = (await pair.mustVtep('a', 'status', '--json')).json();
  expect(ports.find(({ id }: { id: string }) => id === boxes.held.sender.id).drops).toMatchObject(twice);
  expect(await attempt('held', ['neighbour'])).toEqual({ neighbour: allowed });
  const listing = (await pair.mustExec('a', 'nft', 'list', 'set', 'bridge', 'vtep', 'macs')).stdout;
  expect(listing.match(/vtep-p/g)).toHaveLength(2);
  await pair.mustVtep('a', 'network', 'rm', 'held', '--force');
  await waitFor(
    'the table to go',
    async () => (await pair.exec('a', 'nft', 'list', 'table', 'bridge', 'vtep')).exitCode !== 0,
  );
});
