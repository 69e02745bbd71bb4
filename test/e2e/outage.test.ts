/**
 * Consul is stopped: a container that is attached then, on a network that both hosts have, is reached from the other host
 * at once, by what the daemons know of each other; when Consul is back, the registry has it too.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createHostPair, findProcesses, type HostPair, waitFor } from './host-pair.js';

let pair: HostPair;

beforeAll(async () => {
  pair = await createHostPair({ registry: 'consul' });
});
afterAll(async () => {
  await pair?.cleanup();
});

it.each([
  ['learning', []],
  ['no-learning', ['--no-learning']],
])(
  'on a network with %s',
  async (name, options) => {
    if (pair.daemonPid('a') === undefined) throw new Error('no vtepd on a');
    await pair.mustVtep('a', 'network', 'create', name, ...options);
    const there = await pair.addContainer('b', `there-${name}`, name);
    const first = await pair.addContainer('a', `first-${name}`, name);
    await pair.waitConverged(name);
    await waitFor('spare addresses', async () => {
      const keys = await pair.exec(
        'a',
        'curl',
        '-sf',
        'http://192.0.2.1:8500/v1/kv/vtep/v1/addresses/?recurse&raw&keys',
      );
      return [`${name}/10.`, '.254'].every((part) => keys.stdout.includes(part));
    });
    const consul = findProcesses(`${pair.folder}/consul`);
    expect(consul.length).toBeGreaterThan(0);
    // Paused, as behind a cut cable: nothing answers, nothing is refused.
    for (const pid of consul) process.kill(pid, 'SIGSTOP');
    try {
      await waitFor(
        'vtepd of a to miss the registry',
        async () => (await pair.mustVtep('a', 'status', '--json')).json().registry.connected === false,
        60_000,
      );
      const beganMs = performance.now();
      const late = await pair.addContainer('a', `late-${name}`, name);
      expect(performance.now() - beganMs).toBeLessThan(5000);
      expect(late.ip).toMatch(/\.25[1-4]$/);
      expect((await pair.mustVtep('a', 'endpoint', 'ls')).stdout).toMatch(new RegExp(`late-${name} .*\\(waiting\\)`));
      expect(await pair.ping(there.name, late.ip)).toMatchObject({ lossPercent: 0 });
      expect(await pair.ping(late.name, there.ip)).toMatchObject({ lossPercent: 0 });
      // The address of one that has gone, with another MAC than the registry has last said.
      await pair.mustVtep('a', 'detach', '--network', name, '--netns', first.netns);
      pair.containers.splice(pair.containers.indexOf(first), 1);
      const heir = await pair.addContainer('a', `heir-${name}`, name, '--ip', first.ip);
      await waitFor('b to hear of it', () => pair.log('vtepd-b').includes(`an address of MAC ${first.mac}`));
      await pair.mustExec(there.name, 'ip', 'neighbour', 'flush', 'dev', 'eth0');
      expect(await pair.ping(there.name, heir.ip)).toMatchObject({ lossPercent: 0 });
    } finally {
      for (const pid of consul) process.kill(pid, 'SIGCONT');
    }
    await waitFor(
      'the endpoint to be published',
      async () => (await pair.vtep('b', 'endpoint', 'ls')).stdout.includes(`late-${name}`),
      60_000,
    );
    await pair.waitConverged(name);
    await waitFor('b to answer for it', async () => {
      const heir = pair.containers.find((container) => container.name === `heir-${name}`)!;
      const { stdout } = await pair.mustVtep('b', 'neigh', '--network', name);
      return new RegExp(`${heir.ip} +${heir.mac} +remote`).test(stdout);
    });
  },
  180_000,
);
