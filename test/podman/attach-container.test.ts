/**
 * Real podman containers on a host of the overlay: attached by name by docker/attach.sh, pinged from another host, stopped
 * and started again, detached by docker/detach.sh.
 */
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Container, createHostPair, type HostPair, ROOT, waitFor } from '../e2e/host-pair.js';
import { PodmanRoot } from './podman-root.js';

const podman = new PodmanRoot();
let pair: HostPair;
let slaver: Container;

beforeAll(async () => {
  await podman.build();
  // vtepd asks the same podman.
  Object.assign(process.env, podman.env);
  pair = await createHostPair({ daemonOptions: ['--docker-api', 'off'] });
  await pair.mustVtep('a', 'network', 'create', 'my_overlay');
  slaver = await pair.addContainer('b', 'slaver', 'my_overlay');
});
afterAll(async () => {
  await podman.remove();
  for (const name of Object.keys(podman.env)) delete process.env[name];
  await pair?.cleanup();
});

const script = (name: string, ...argv: string[]) =>
  execa(join(ROOT, 'docker', name), ['my_overlay', ...argv], {
    env: { VTEP_SOCKET: pair.socketPath('a') },
    reject: false,
  });
const attach = (...argv: string[]) => script('attach.sh', ...argv);
const detach = (...argv: string[]) => script('detach.sh', ...argv);

async function stateOf(name: string): Promise<string | undefined> {
  const endpoints = (await pair.mustVtep('a', 'endpoint', 'ls', '--json')).json();
  return endpoints.find((one: { name: string }) => one.name === name)?.local?.state;
}
const reaches = (from: string, address: string) => async () =>
  (await pair.exec(from, 'ping', '-n', '-c', '1', '-W', '1', address)).exitCode === 0;

it('attaches by name, idempotently, and attaches again what was started again', async () => {
  await podman.run('web');
  const first = await attach('--container', 'web', '--ip', '10.0.0.50');
  expect(first, pair.log('vtepd-a').slice(-3000)).toMatchObject({ stdout: 'eth0 10.0.0.50/24', exitCode: 0 });
  expect(await attach('--container', 'web')).toMatchObject({ stdout: 'eth0 10.0.0.50/24', exitCode: 0 });
  const other = await attach('--container', 'web', '--ip', '10.0.0.51');
  expect(other).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('address 10.0.0.51') });
  await waitFor('the first ping', reaches('slaver', '10.0.0.50'));
  const ls = (await pair.mustVtep('a', 'endpoint', 'ls')).stdout;
  expect(ls).toMatch(/web +10\.0\.0\.50\/24 .* podman:web eth0/);

  await podman.podman('restart', '--time', '0', 'web');
  await waitFor('a ping after the restart', reaches('slaver', '10.0.0.50'), 20_000);
  expect(await podman.podman('exec', 'web', '/bin/ping', '-c', '1', '-W', '5', slaver.ip)).toContain(' 0% packet loss');

  await podman.podman('stop', 'web');
  await waitFor('web to be stopped', async () => (await stateOf('web')) === 'stopped');
  expect((await pair.mustVtep('a', 'endpoint', 'ls')).stdout).toContain('podman:web eth0 (stopped)');
  expect(await reaches('slaver', '10.0.0.50')()).toBe(false);
  // A restart of vtepd in between is nothing to it.
  await pair.killDaemon('a', 'SIGKILL');
  await pair.startDaemon('a');
  await podman.podman('start', 'web');
  await waitFor('a ping after the start', reaches('slaver', '10.0.0.50'), 20_000);
});

it('detaches once, and says that nothing is left after that, also of a container that is gone', async () => {
  expect(await detach('--container', 'web')).toMatchObject({ stdout: 'detached 10.0.0.50/24', exitCode: 0 });
  expect(await detach('--container', 'web')).toMatchObject({ stdout: 'nothing was attached', exitCode: 0 });
  expect(await podman.podman('exec', 'web', '/bin/ip', 'link')).not.toContain('eth0');
  await attach('--container', 'web', '--engine', 'podman');
  await podman.podman('rm', '--force', '--time', '0', 'web');
  await waitFor('web to be stopped', async () => (await stateOf('web')) === 'stopped');
  expect(await detach('--container', 'web')).toMatchObject({
    exitCode: 0,
    stdout: expect.stringMatching(/^detached 10/),
  });
  expect(await stateOf('web')).toBeUndefined();
  expect(await attach('--container', 'web')).toMatchObject({
    ...{ exitCode: 1, stderr: 'attach.sh: container "web" does not exist in podman: "podman ps" shows those that run' },
  });
});
