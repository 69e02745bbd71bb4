/**
 * Who reaches whom, at a quiet point: containers of one network do, by all their addresses, by their names and by the right
 * MAC, and they reach their gateway; those of two networks don't, even with a route. A bounded sample of the pairs.
 */
import { type AttachmentModel, addressesOf, type Model } from './model.js';
import { gatewayOf } from './oracle.js';
import type { Random } from './random.js';
import type { World } from './world.js';

const PAIRS_MAX = 16;
const STRANGERS_MAX = 3;
const NAMES_MAX = 5;
const AT_ONCE = 6;
const REACH_SECONDS_MAX = 8;
/** An announcement of the container's own address, a second after its attach, makes its kernel forget its neighbours. */
const NEIGHBOUR_TRIES_MAX = 3;

type Pair = readonly [from: AttachmentModel, to: AttachmentModel];

/** @returns what is not as it should be. */
export async function checkConnectivity(world: World, model: Model, random: Random): Promise<string[]> {
  const all = [...model.attachments.values()];
  const pairs = all.flatMap((from) => all.filter((to) => reachable(from, to)).map((to): Pair => [from, to]));
  const strangers = all.flatMap((from) => all.filter((to) => strange(model, from, to)).map((to): Pair => [from, to]));
  const checks = [
    ...sample(pairs, PAIRS_MAX, random).map((pair) => () => checkReaches(world, pair)),
    ...sample(pairs, NAMES_MAX, random).map((pair) => () => checkName(world, model, pair)),
    ...sample(strangers, STRANGERS_MAX, random).map((pair) => () => checkKeptApart(world, pair)),
  ];
  const wrong: string[] = [];
  const next = async (): Promise<void> => {
    for (let check = checks.shift(); check !== undefined; check = checks.shift()) {
      const text = await check();
      if (text !== undefined) wrong.push(text);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, next));
  return wrong;
}

function reachable(from: AttachmentModel, to: AttachmentModel): boolean {
  return from.network === to.network && from.container !== to.container;
}

/** No network has both containers, and none that `from` is on has the address of `to`. */
function strange(model: Model, from: AttachmentModel, to: AttachmentModel): boolean {
  const mine = new Set(model.of(from.container).map(({ network }) => network));
  if (model.of(to.container).some(({ network }) => mine.has(network))) return false;
  return ![...mine].some((network) => model.on(network).some(({ ip }) => ip === to.ip));
}

function sample<T>(items: readonly T[], count: number, random: Random): T[] {
  const left = [...items];
  const chosen: T[] = [];
  while (left.length > 0 && chosen.length < count) chosen.push(...left.splice(random.between(0, left.length - 1), 1));
  return chosen;
}

async function checkReaches(world: World, [from, to]: Pair): Promise<string | undefined> {
  for (const address of addressesOf(to)) {
    const wrong = await checkReachesAt(world, from, to, address);
    if (wrong !== undefined) return wrong;
  }
  return undefined;
}

/** By the gateway's DNS, which answers with what the registry holds; and the gateway itself answers pings. */
async function checkName(world: World, model: Model, [from, to]: Pair): Promise<string | undefined> {
  const network = model.networks.get(from.network);
  // Of networks with the same subnet one has the gateway, and it may be the other.
  const rivals = [...model.networks.values()].filter(({ subnet }) => subnet === network?.subnet);
  if (network === undefined || rivals.length > 1) return undefined;
  const netns = world.netns(from.container);
  const gateway = gatewayOf(network.subnet);
  const inside = ['netns', 'exec', netns];
  const ping = await world.run('ip', [
    ...inside,
    ...['ping', '-n', '-c', '1', '-i', '0.2', '-w', String(REACH_SECONDS_MAX), '-I', from.interface, gateway],
  ]);
  if (!ping.ok) return `${from.container} (h${from.host}) does not reach the gateway ${gateway} of ${network.name}`;
  const wanted: readonly (readonly [string, string | undefined])[] = [
    ['A', to.ip],
    ['AAAA', to.ip6],
  ];
  for (const [type, address] of wanted) {
    const name = `${to.container}.${network.name}`;
    const question = [`@${gateway}`, '-b', from.ip, '+short', '+time=2', '+tries=4', name, type];
    const { stdout } = await world.run('ip', [...inside, 'dig', ...question]);
    if (stdout.trim() !== (address ?? ''))
      return `${from.container} (h${from.host}) asked for ${type} ${name}: expected ${address}, got ${stdout.trim() || 'nothing'}`;
  }
  return undefined;
}

async function checkReachesAt(
  world: World,
  from: AttachmentModel,
  to: AttachmentModel,
  address: string,
): Promise<string | undefined> {
  const netns = world.netns(from.container);
  const what = `${from.container} (h${from.host}) to ${to.container} (h${to.host}) on ${from.network}`;
  const ping = ['ping', '-n', '-c', '1', '-i', '0.2', '-w', String(REACH_SECONDS_MAX), '-I', from.interface, address];
  for (let tries = 0; tries < NEIGHBOUR_TRIES_MAX; tries++) {
    // What it knew of an earlier holder of the address is not asked about here.
    await world.run('ip', ['-n', netns, 'neigh', 'del', address, 'dev', from.interface]);
    const { stdout, ok } = await world.run('ip', ['netns', 'exec', netns, ...ping]);
    if (!ok) return `${what}: ${address} does not answer: ${stdout.trim().split('\n').at(-1)}`;
    const neighbour = await world.run('ip', ['-n', netns, 'neigh', 'show', address, 'dev', from.interface]);
    const mac = /lladdr (\S+)/.exec(neighbour.stdout)?.[1];
    if (mac === to.mac) return undefined;
    if (mac !== undefined) return `${what}: ${address} answers with MAC ${mac}, expected ${to.mac}`;
  }
  return `${what}: ${address} answers, and is no neighbour`;
}

async function checkKeptApart(world: World, [from, to]: Pair): Promise<string | undefined> {
  const netns = world.netns(from.container);
  const route = [`${to.ip}/32`, 'dev', from.interface];
  await world.must('ip', '-n', netns, 'route', 'replace', ...route);
  const { ok } = await world.run('ip', [
    'netns',
    'exec',
    netns,
    'ping',
    '-n',
    '-c',
    '2',
    '-i',
    '0.2',
    '-W',
    '1',
    to.ip,
  ]);
  await world.must('ip', '-n', netns, 'route', 'del', ...route);
  if (!ok) return undefined;
  return `${from.container} on ${from.network} reaches ${to.ip} of ${to.container} on ${to.network}`;
}
