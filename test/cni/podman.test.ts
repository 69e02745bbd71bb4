/**
 * Two hosts with a real podman and the reference plugins (portmap, bandwidth, tuning), the conflist that the docs show:
 * the whole way from "podman run" to pings and published ports, restarts of everything, and nothing left.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { type HostName, ROOT, UNDERLAY_ADDRESS, waitFor } from '../e2e/host-pair.js';
import { PodmanHosts } from './podman-hosts.js';

const NETWORK = 'my_overlay';
const hosts = new PodmanHosts({});

beforeAll(() => hosts.start());
afterAll(() => hosts.cleanup());

const start = (host: HostName, name: string, ...options: string[]) =>
  hosts.mustPodman(
    host,
    'run',
    '-d',
    '--name',
    name,
    '--network',
    NETWORK,
    '--cap-add',
    'NET_RAW',
    ...options,
    'box',
    'httpd',
    '-f',
    '-p',
    '80',
    '-h',
    '/',
  );

async function ipOf(host: HostName, name: string, network = NETWORK): Promise<string> {
  const [found] = JSON.parse(await hosts.mustPodman(host, 'inspect', name));
  return found.NetworkSettings.Networks[network].IPAddress;
}

/** The first packets may be on their way to a host that has only just heard of the other. */
const pings = (host: HostName, name: string, target: string) =>
  waitFor(
    `${name} to reach ${target}`,
    async () => {
      return (await hosts.podman(host, 'exec', name, 'ping', '-c', '1', '-W', '1', target)).exitCode === 0;
    },
    20_000,
  );

const fetches = (where: HostName, url: string) =>
  waitFor(
    `${where} to fetch ${url}`,
    async () => {
      return (await hosts.exec(where, 'curl', '-s', '--max-time', '2', url)).stdout.trim() === 'hello';
    },
    20_000,
  );

async function endpoints(): Promise<string[]> {
  const all = (await hosts.mustVtep('a', 'endpoint', 'ls', '--json')).json() as { name: string; network: string }[];
  return all.map(({ name, network }) => `${name}@${network}`).sort();
}

it('the network of the configuration is one of podman on each host', async () => {
  for (const host of ['a', 'b'] as const) expect(await hosts.mustPodman(host, 'network', 'ls')).toContain(NETWORK);
});

it('containers on two hosts reach each other by address and by name, and outside by a published port', async () => {
  await Promise.all([start('a', 'web', '-p', '18080:80'), start('b', 'peer')]);
  const [web, peer] = [await ipOf('a', 'web'), await ipOf('b', 'peer')];
  expect([web, peer].sort()).toEqual(['10.0.0.2', '10.0.0.3']);
  await Promise.all([pings('a', 'web', peer), pings('b', 'peer', web)]);
  await Promise.all([pings('a', 'web', 'peer'), pings('b', 'peer', 'web')]);
  expect(await hosts.mustPodman('b', 'exec', 'peer', 'cat', '/etc/resolv.conf')).toMatch(
    /search my_overlay\.vtep\n(.*\n)*nameserver 10\.0\.0\.1/,
  );
  const published = `http://${UNDERLAY_ADDRESS.a}:18080/`;
  // From another host, from the host itself by both ways, from a container of the other host.
  await fetches('b', published);
  await fetches('a', published);
  await fetches('a', 'http://127.0.0.1:18080/');
  // Not by wget, which as a static program fails on the look-up of "http".
  const ask = `printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | nc -w 5 ${UNDERLAY_ADDRESS.a} 18080`;
  expect(await hosts.mustPodman('b', 'exec', 'peer', 'sh', '-c', ask)).toContain('hello');
  expect(await endpoints()).toEqual([`peer@${NETWORK}`, `web@${NETWORK}`]);
});

it('a container restarts, and is killed, and works again', async () => {
  await hosts.mustPodman('a', 'restart', '-t', '0', 'web');
  await pings('b', 'peer', await ipOf('a', 'web'));
  await fetches('b', `http://${UNDERLAY_ADDRESS.a}:18080/`);
  const pid = (await hosts.mustPodman('b', 'inspect', '-f', '{{.State.Pid}}', 'peer')).trim();
  process.kill(Number(pid), 'SIGKILL');
  await waitFor(
    'the endpoint of the killed container to go',
    async () => !(await endpoints()).includes(`peer@${NETWORK}`),
    20_000,
  );
  await hosts.mustPodman('b', 'start', 'peer');
  await pings('b', 'peer', 'web');
});

it('vtepd is killed: containers go on, podman is told, and what it missed is made up for at its start', async () => {
  const [web] = await Promise.all([ipOf('a', 'web'), start('b', 'short')]);
  await hosts.killDaemon('b', 'SIGKILL');
  const refused = await hosts.podman('b', 'run', '--rm', '--network', NETWORK, 'box', 'cat', '/index.html');
  expect(refused.stderr).toContain('vtepd is not reachable on');
  await hosts.podman('b', 'rm', '-f', '-t', '0', 'short');
  await hosts.startDaemon('b');
  await waitFor(
    'the removed one to be forgotten',
    async () => !(await endpoints()).includes(`short@${NETWORK}`),
    20_000,
  );
  expect(await endpoints()).toEqual([`peer@${NETWORK}`, `web@${NETWORK}`]);
  await pings('b', 'peer', web);
  await hosts.mustPodman('b', 'restart', '-t', '0', 'peer');
  await pings('a', 'web', await ipOf('b', 'peer'));
  await hosts.mustPodman('b', 'rm', '-f', '-t', '0', 'peer');
});

it('takes an address and a MAC, and two networks at once', async () => {
  await start('b', 'fixed', '--ip', '10.0.0.99', '--mac-address', '02:00:5e:10:00:99');
  await pings('a', 'web', '10.0.0.99');
  expect(await hosts.mustPodman('b', 'exec', 'fixed', 'cat', '/sys/class/net/eth0/address')).toContain(
    '02:00:5e:10:00:99',
  );
  await hosts.mustPodman(
    'b',
    'run',
    '-d',
    '--name',
    'two',
    '--network',
    NETWORK,
    '--network',
    'second',
    'box',
    'sleep',
    '1000',
  );
  expect(await ipOf('b', 'two', 'second')).toBe('10.0.1.2');
  expect(await endpoints()).toEqual([`fixed@${NETWORK}`, `two@${NETWORK}`, 'two@second', `web@${NETWORK}`]);
  const taken = await hosts.podman(
    'a',
    'run',
    '--rm',
    '--network',
    NETWORK,
    '--ip',
    '10.0.0.99',
    'box',
    'cat',
    '/index.html',
  );
  expect(taken.stderr).toContain('10.0.0.99');
});

describe('the reference plugins by hand', () => {
  it.each([
    [
      'bandwidth',
      {
        runtimeConfig: {
          bandwidth: { ingressRate: 8_000_000, ingressBurst: 800_000, egressRate: 8_000_000, egressBurst: 800_000 },
        },
      },
    ],
    ['tuning', { sysctl: { 'net.ipv4.conf.IFNAME.rp_filter': '2' }, promisc: true }],
  ])('%s takes what vtep-cni answers', async (name, own) => {
    // The host's own view of /run/netns has podman's namespaces only.
    const env = {
      CNI_CONTAINERID: name,
      CNI_NETNS: await hosts.addBareContainer(name),
      CNI_IFNAME: 'eth0',
      CNI_PATH: '/usr/lib/cni',
    };
    const config = { cniVersion: '1.0.0', name: NETWORK, type: 'vtep-cni', socket: hosts.socketPath('a') };
    const first = await hosts.plugin('a', 'vtep-cni', { ...env, CNI_COMMAND: 'ADD' }, config);
    expect(first.exitCode, first.stdout).toBe(0);
    const chained = { cniVersion: '1.0.0', name: NETWORK, type: name, ...own, prevResult: first.json() };
    const second = await hosts.plugin('a', name, { ...env, CNI_COMMAND: 'ADD' }, chained);
    expect(second.exitCode, second.stdout).toBe(0);
    const check = { ...config, prevResult: second.json() };
    expect(await hosts.plugin('a', 'vtep-cni', { ...env, CNI_COMMAND: 'CHECK' }, check)).toMatchObject({ exitCode: 0 });
    if (name === 'bandwidth') {
      const port = first.json().interfaces[1].name;
      expect((await hosts.mustExec('a', 'tc', 'qdisc', 'show', 'dev', port)).stdout).toContain('tbf');
    }
    await hosts.plugin('a', name, { ...env, CNI_COMMAND: 'DEL' }, chained);
    expect(await hosts.plugin('a', 'vtep-cni', { ...env, CNI_COMMAND: 'DEL' }, config)).toMatchObject({ exitCode: 0 });
  });
});

it("the DaemonSet's way to the gateway's settings works with its capabilities alone", async () => {
  const manifest = parseAllDocuments(readFileSync(join(ROOT, 'docker/kubernetes/vtep.yaml'), 'utf8'))[2]!.toJS();
  const { command, securityContext } = manifest.spec.template.spec.containers[0];
  const { drop, add } = securityContext.capabilities;
  const capabilities = [
    ...drop.map((name: string) => `--cap-drop=${name}`),
    ...add.map((name: string) => `--cap-add=${name}`),
  ];
  const write = 'echo 1 > /proc/sys/net/ipv4/conf/lo/arp_ignore && cat /proc/sys/net/ipv4/conf/lo/arp_ignore';
  const run = (...program: string[]) =>
    hosts.podman('a', 'run', '--rm', '--network', 'none', ...capabilities, 'box', ...program);
  expect((await run('sh', '-c', write)).stderr).toContain('Read-only file system');
  expect(await run(...command, 'sh', '-c', write)).toMatchObject({ exitCode: 0, stdout: '1' });
});

it('leaves nothing when all is removed', async () => {
  for (const host of ['a', 'b'] as const) await hosts.mustPodman(host, 'rm', '-fa', '-t', '0');
  expect(await endpoints()).toEqual([]);
  for (const host of ['a', 'b'] as const) {
    const links = (await hosts.mustExec(host, 'ip', '-br', 'link')).stdout;
    expect(links).not.toMatch(/vtep-|ifb/);
    expect((await hosts.mustExec(host, 'iptables-save')).stdout).not.toContain('CNI-DN-');
    expect((await hosts.mustExec(host, 'sh', '-c', 'ls /run/netns')).stdout).toBe('');
  }
});
