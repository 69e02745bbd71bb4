/**
 * A container asks its gateway, in namespaces: the server's address comes after the server, names are answered on port 53
 * of both families, by TCP where they are too many for UDP, and the rest goes to the resolver of the host.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterEach, expect, it, vi } from 'vitest';
import type { NamesStatus } from '../../../src/control/names/names-service.js';
import { inHost, ip, Namespaces } from '../namespaces.js';

const WAIT = { timeout: 30_000, interval: 100 };
const script = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const namespaces = new Namespaces();
const processes: ChildProcess[] = [];

afterEach(async () => {
  for (const child of processes.splice(0)) {
    if (child.exitCode !== null) continue;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }
  await namespaces.removeAll();
});

function startIn(netns: string, file: string, options: object): ChildProcess {
  const [command = '', ...rest] = [...inHost(netns), process.execPath, script(file), JSON.stringify(options)];
  const child = spawn(command, rest, { stdio: ['pipe', 'pipe', 'inherit'] });
  processes.push(child);
  return child;
}

async function asked(netns: string, server: string, ...questions: string[]): Promise<unknown[]> {
  const { stdout } = await execa('nsenter', [
    ...[`--net=/run/netns/${netns}`, process.execPath, script('ask.mjs'), server, ...questions],
  ]);
  return JSON.parse(stdout) as unknown[];
}

it('names, addresses and the rest of the world, from a container', async () => {
  const [host, container, stranger] = [await namespaces.add(), await namespaces.add(), await namespaces.add()];
  await ip(host, 'link', 'set', 'lo', 'up');
  await ip(host, 'link', 'add', 'br0', 'type', 'bridge');
  await ip(host, 'link', 'set', 'br0', 'up');
  for (const [index, netns] of [container, stranger].entries()) {
    await ip(host, 'link', 'add', `p${index}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns);
    await ip(host, 'link', 'set', `p${index}`, 'master', 'br0', 'up');
    await ip(netns, 'link', 'set', 'eth0', 'up');
  }
  await ip(container, 'addr', 'add', '10.77.0.2/24', 'dev', 'eth0');
  await ip(container, 'addr', 'add', 'fd77::2/64', 'dev', 'eth0', 'nodad');
  await ip(stranger, 'addr', 'add', '10.78.0.2/24', 'dev', 'eth0');

  startIn(host, 'upstream.mjs', { address: '127.0.0.1', port: 5353 });
  const server = startIn(host, 'serve.mjs', {
    upstream: [{ address: '127.0.0.1', port: 5353 }],
    network: {
      ...{ name: 'blue', listenAddresses: ['10.77.0.1', 'fd77::1'], forward: true },
      subnets: ['10.77.0.0/24', 'fd77::/64'],
    },
    endpoints: [
      { name: 'web', addresses: ['10.77.0.2/24', 'fd77::2/64'] },
      ...Array.from({ length: 200 }, (_, i) => ({ name: 'many', addresses: [`10.77.0.${i + 3}/24`] })),
    ],
  });
  const lines = createInterface({ input: server.stdout! })[Symbol.asyncIterator]();
  const addresses = async () => {
    server.stdin!.write('status\n');
    const status = JSON.parse((await lines.next()).value as string) as NamesStatus[];
    return status[0]?.addresses.map(({ state, error }) => `${state} ${error?.includes('EADDRNOTAVAIL') ?? false}`);
  };
  await vi.waitFor(async () => expect(await addresses()).toEqual(['waiting true', 'waiting true']), WAIT);

  await ip(host, 'addr', 'add', '10.77.0.1/24', 'dev', 'br0');
  await ip(host, 'addr', 'add', 'fd77::1/64', 'dev', 'br0');
  await vi.waitFor(async () => expect(await addresses()).toEqual(['listening false', 'listening false']), WAIT);

  const many = Array.from({ length: 200 }, (_, i) => `10.77.0.${i + 3}`).sort();
  const questions = ['A:web', 'AAAA:web.blue', 'A:WEB.blue.vtep', 'PTR:10.77.0.2', 'PTR:fd77::2', 'A:many'];
  const rest = ['AAAA:many', 'A:no.blue.vtep', 'PTR:10.77.0.254', 'A:www.example', 'A:none.example', 'A:long.example'];
  const full = ['web.blue.vtep'];
  for (const gateway of ['10.77.0.1', '[fd77::1]:53']) {
    expect(await asked(container, gateway, ...questions, ...rest)).toEqual([
      ...[['10.77.0.2'], ['fd77::2'], ['10.77.0.2'], full, full, many],
      ...['ENODATA', 'ENOTFOUND', 'ENOTFOUND', ['192.0.2.80'], 'ENOTFOUND'],
      Array.from({ length: 100 }, (_, i) => `192.0.2.${i}`).sort(),
    ]);
  }

  // Not of the network's subnets, though it reaches the address; and the host itself.
  await ip(stranger, 'route', 'add', '10.77.0.0/24', 'dev', 'eth0');
  await ip(host, 'route', 'add', '10.78.0.0/24', 'dev', 'br0');
  expect(await asked(stranger, '10.77.0.1', 'A:web', 'A:www.example')).toEqual(['EREFUSED', 'EREFUSED']);
  expect(await asked(host, '10.77.0.1', 'A:web', 'A:www.example')).toEqual([['10.77.0.2'], 'EREFUSED']);
});
