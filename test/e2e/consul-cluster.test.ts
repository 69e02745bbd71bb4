/**
 * Two hosts on a cluster of three Consul servers: its leader is killed, then all of it, and frames go on.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ConsulCluster, SERVERS, startConsulCluster } from '../control/registry/consul-cluster.js';
import { createHostPair, type HostPair, run, waitFor } from './host-pair.js';

const WAIT_MS = 60_000;

let cluster: ConsulCluster;
let pair: HostPair;

beforeAll(async () => {
  cluster = await startConsulCluster();
  const leader = (await cluster.leader()) ?? 'c1';
  // The leader first, so that both hosts hang on the one that is killed.
  const order = [leader, ...SERVERS.filter((name) => name !== leader)];
  const registry = order.map((name) => cluster.url(name));
  pair = await createHostPair({ registry, startDaemons: false });
  for (const host of ['a', 'b'] as const) {
    await cluster.join(pair.netns(host));
    await pair.startDaemon(host);
  }
  await pair.mustVtep('a', 'network', 'create', 'blue');
  await pair.addContainer('a', 'web', 'blue');
  await pair.addContainer('b', 'db', 'blue');
  await pair.waitConverged('blue');
});

afterAll(async () => {
  await pair?.cleanup();
  await cluster?.close();
});

/** A ping every 10 ms for so long at the least. @returns how many were sent and how many came back. */
function pingFor(seconds: number) {
  const { ip } = pair.containers.find(({ name }) => name === 'db')!;
  const args = ['netns', 'exec', pair.netns('web'), 'ping', '-q', '-n', '-i', '0.01', '-c', `${seconds * 100}`, ip];
  return run('ip', args, seconds * 4000).then(({ stdout }) => {
    const match = /(\d+) packets transmitted, (\d+) received/.exec(stdout);
    return { sent: Number(match?.[1]), received: Number(match?.[2]) };
  });
}

const connected = async (host: 'a' | 'b') => (await pair.vtep(host, 'status', '--json')).json().registry.connected;

/** As a person does it: again, for as long as the failure says that this can help. */
async function createNetwork(name: string): Promise<void> {
  await waitFor(
    `network ${name} to be made`,
    async () => {
      const { exitCode, stderr } = await pair.vtep('a', 'network', 'create', name);
      if (exitCode !== 0) expect(stderr).toMatch(/registry|exists already/);
      return exitCode === 0 || /exists already/.test(stderr);
    },
    WAIT_MS,
  );
}

async function waitSeen(name: string): Promise<void> {
  const seen = async () => (await pair.vtep('b', 'network', 'ls')).stdout.includes(name);
  await waitFor(`network ${name} on b`, seen, WAIT_MS);
}

function expectNoLoss({ sent, received }: { sent: number; received: number }): void {
  expect(sent).toBeGreaterThanOrEqual(400);
  expect(received).toBe(sent);
}

describe('a cluster of three Consul servers', () => {
  it('loses its leader: no frame is lost, and a network that is made meanwhile is on the other host', async () => {
    const leader = (await cluster.leader())!;
    const pinging = pingFor(10);
    await sleep(1000);
    await cluster.kill(leader);
    await createNetwork('red');
    await waitSeen('red');
    expectNoLoss(await pinging);
    await waitFor(
      'both hosts to have a registry',
      async () => (await connected('a')) && (await connected('b')),
      WAIT_MS,
    );
    await cluster.start(leader);
    await cluster.waitWritable();
  });

  it('is down as a whole for 10 s: no frame is lost, and both hosts are there when it is back', async () => {
    const pinging = pingFor(14);
    for (const name of SERVERS) await cluster.kill(name);
    await waitFor('both hosts to miss it', async () => !(await connected('a')) && !(await connected('b')), WAIT_MS);
    await sleep(10_000);
    for (const name of SERVERS) await cluster.start(name);
    await cluster.waitWritable();
    expectNoLoss(await pinging);
    await waitFor('both hosts to have it again', async () => (await connected('a')) && (await connected('b')), WAIT_MS);
    await createNetwork('green');
    await waitSeen('green');
    const nodes = (await pair.mustVtep('a', 'node', 'ls', '--json')).json() as unknown[];
    expect(nodes).toHaveLength(2);
    expectNoLoss(await pingFor(4));
  });
});
