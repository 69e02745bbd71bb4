/**
 * The rig of the Docker tests itself: what a real dockerd does without vtep. The classic overlay of Docker 20.10.5 over
 * Consul works here, so that the comparison (bench/docker-overlay.sh) compares with the real thing; a container outlives its
 * dockerd. That nothing is left of a host is checked whenever one is removed.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { waitFor } from '../e2e/host-pair.js';
import { DockerPair } from './docker-pair.js';
import { IMAGE } from './image.js';

let pair: DockerPair;

beforeAll(async () => {
  pair = await DockerPair.start({ suite: 'bullseye', clusterStore: true });
});

afterAll(async () => {
  await pair?.cleanup();
});

it('has the classic overlay: made on one host, seen on both, pinged across', async () => {
  await pair.docker('a', 'network', 'create', '-d', 'overlay', 'classic');
  await waitFor('the network on b', async () => (await pair.docker('b', 'network', 'ls')).includes('classic'));
  await pair.docker('a', 'run', '-d', '--name', 'one', '--network', 'classic', IMAGE, 'sleep', '600');
  await pair.docker('b', 'run', '-d', '--name', 'two', '--network', 'classic', IMAGE, 'sleep', '600');
  const output = await pair.docker('b', 'exec', 'two', 'ping', '-c', '3', '-i', '0.2', '-W', '5', 'one');
  expect(output).toContain(' 0% packet loss');
});

it('keeps containers running while dockerd is gone, stopped or killed', async () => {
  const started = await pair.docker('a', 'inspect', '-f', '{{.State.StartedAt}} {{.State.Pid}}', 'one');
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    await pair.host('a').stopDockerd(signal);
    const output = await pair.docker('b', 'exec', 'two', 'ping', '-c', '1', '-W', '5', '10.0.0.2');
    expect(output).toContain(' 0% packet loss');
    await pair.host('a').startDockerd();
    expect(await pair.docker('a', 'inspect', '-f', '{{.State.StartedAt}} {{.State.Pid}}', 'one')).toBe(started);
  }
});
