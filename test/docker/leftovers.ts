/**
 * What is left of containers and networks on two hosts and in their registry, as seen from outside: by ip, nft, Consul,
 * docker and vtep. A leak is a line that no container explains. Test support.
 */
import { REGISTRY_URL, waitFor } from '../e2e/host-pair.js';
import { DOCKER_HOSTS, type DockerHostName, type DockerPair } from './docker-pair.js';

/** Of Consul, by prefix. Addresses that hosts keep for bad times (spares) say so by their endpoint. */
const KEYS_OF_CONTAINERS = ['addresses/', 'endpoints/'];
const KEYS_OF_NETWORKS = [...KEYS_OF_CONTAINERS, 'networks/', 'vnis/', 'subnets/'];

export interface Registered {
  readonly key: string;
  // biome-ignore lint/suspicious/noExplicitAny: a test names what it expects in its assertions
  readonly value: any;
}

/** The registry's keys and values under vtep/v1/, without that. */
export async function registered(pair: DockerPair, prefix: string): Promise<Registered[]> {
  const { stdout } = await pair.wire.exec('a', 'curl', '-s', `${REGISTRY_URL}/v1/kv/vtep/v1/${prefix}?recurse`);
  const rows = (stdout === '' ? [] : JSON.parse(stdout)) as { Key: string; Value: string | null }[];
  return rows.map(({ Key, Value }) => ({
    key: Key.replace('vtep/v1/', ''),
    value: Value === null ? null : JSON.parse(Buffer.from(Value, 'base64').toString()),
  }));
}

async function linesOfHost(pair: DockerPair, name: DockerHostName, networksToo: boolean): Promise<string[]> {
  const host = pair.host(name);
  const lines: string[] = [];
  const links = JSON.parse((await host.exec('ip', '-json', 'link', 'show')).stdout) as { ifname: string }[];
  const ofVtep = networksToo ? /^vtep-/ : /^vtep-[pc]/;
  lines.push(...links.filter(({ ifname }) => ofVtep.test(ifname)).map(({ ifname }) => `link ${ifname}`));
  // Docker unmounts a sandbox at once and removes the empty file within a minute. "default" is its own.
  const mounts = (await host.exec('cat', '/proc/self/mounts')).stdout;
  const namespaces = [...mounts.matchAll(/ \/run\/docker\/netns\/(\w+) /g)].map((match) => match[1]!);
  lines.push(...namespaces.filter((name) => name !== 'default').map((name) => `netns ${name}`));
  const endpoints = (await pair.vtep(name, 'endpoint', 'ls', '--json')).json() as { name: string }[];
  lines.push(...endpoints.map((endpoint) => `endpoint ${endpoint.name}`));
  if (networksToo) {
    const rules = (await host.exec('nft', 'list', 'tables')).stdout.split('\n').filter((line) => /vtep/.test(line));
    lines.push(...rules);
    const chain = await host.exec('iptables', '-w', '-S', 'VTEP-FORWARD');
    if (chain.exitCode === 0) lines.push('iptables chain VTEP-FORWARD');
  }
  return lines.map((line) => `${name}: ${line}`);
}

async function registeredLines(pair: DockerPair, networksToo: boolean): Promise<string[]> {
  const lines: string[] = [];
  for (const prefix of networksToo ? KEYS_OF_NETWORKS : KEYS_OF_CONTAINERS) {
    for (const { key, value } of await registered(pair, prefix)) lines.push(`consul: ${key} ${JSON.stringify(value)}`);
  }
  return lines;
}

/** When no container runs: each thing that is left. @param networksToo no network is there either */
export async function leftovers(pair: DockerPair, { networksToo }: { networksToo: boolean }): Promise<string[]> {
  const hosts = await Promise.all(DOCKER_HOSTS.map((name) => linesOfHost(pair, name, networksToo)));
  return [...hosts.flat(), ...(await registeredLines(pair, networksToo))];
}

/** Waits until nothing is left. @throws Error that names what is */
export async function waitNothingLeft(
  pair: DockerPair,
  what: { networksToo: boolean },
  timeoutMs = 30_000,
): Promise<void> {
  let left: string[] = [];
  const isClean = async () => {
    left = await leftovers(pair, what);
    return left.length === 0;
  };
  await waitFor('nothing to be left', isClean, timeoutMs).catch(() => {
    throw new Error(`left behind:\n${left.join('\n')}`);
  });
}
