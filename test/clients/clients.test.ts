/**
 * Programs that people run, as containers run them, over a network of two hosts: DHCP, IPv6 autoconfiguration, mDNS,
 * multicast streams, traceroute, nmap, and a TCP connection whose path gets narrower.
 *
 *     host a: server (dnsmasq), one-a, two-a                    host b: client (udhcpc), one-b, two-b
 */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Container,
  createHostPair,
  type HostName,
  type HostPair,
  run,
  UNDERLAY,
  waitFor,
} from '../e2e/host-pair.js';

const NETWORK = 'lan';
const SUBNET6 = 'fd50:1:2:3';
/** Containers here take addresses that vtep did not give them. */
const OPEN = ['--port-security', 'off', '--arp-suppression', 'off'];
const MULTICAST_PEER = new URL('./multicast-peer.mjs', import.meta.url).pathname;
const MDNS_PEER = new URL('./mdns-peer.mjs', import.meta.url).pathname;
const UDHCPC_SCRIPT = new URL('./udhcpc-script.sh', import.meta.url).pathname;

let pair: HostPair;
const box = {} as Record<string, Container>;

beforeAll(async () => {
  pair = await createHostPair();
  await pair.mustVtep('a', 'network', 'create', NETWORK, '--subnet', '10.50.0.0/24', '--vni', '5050', ...OPEN);
  const hosts: Promise<void>[] = [];
  for (const [host, names] of [
    ['a', ['server', 'one-a', 'two-a']],
    ['b', ['client', 'one-b', 'two-b']],
  ] as [HostName, string[]][]) {
    hosts.push(addContainers(host, names));
  }
  await Promise.all(hosts);
  await pair.waitConverged(NETWORK);
  await startDnsmasq();
});
afterAll(async () => {
  await pair?.cleanup();
});

async function addContainers(host: HostName, names: readonly string[]): Promise<void> {
  for (const name of names) box[name] = await pair.addContainer(host, name, NETWORK);
}

async function shell(where: string, script: string): Promise<string> {
  return (await pair.mustExec(where, 'bash', '-ec', script)).stdout;
}

/** DHCP for IPv4, router advertisements for IPv6. */
async function startDnsmasq(): Promise<void> {
  await shell('server', `ip addr add ${SUBNET6}::1/64 dev eth0 nodad`);
  const leases = join(pair.folder, 'leases');
  const files = [
    '--conf-file=/dev/null',
    '--pid-file=',
    `--dhcp-leasefile=${leases}`,
    '--user=root',
    '--log-facility=-',
  ];
  const dhcp = ['--dhcp-range=10.50.0.100,10.50.0.150,255.255.255.0,2m', '--dhcp-option=3,10.50.0.1', '--no-ping'];
  const ra = ['--enable-ra', `--dhcp-range=${SUBNET6}::,ra-only,64,10m`, '--ra-param=eth0,4,600'];
  const args = ['-k', '--port=0', '--interface=eth0', '--bind-interfaces', ...files, ...dhcp, ...ra];
  pair.spawn('dnsmasq', pair.netns('server'), 'dnsmasq', ...args);
  await waitFor('dnsmasq', () => pair.log('dnsmasq').includes('DHCP'));
}

describe('DHCP', () => {
  it('a client on the other host gets a lease, uses it, and gives it back', async () => {
    await shell('client', 'ip addr flush dev eth0');
    // Once, in the foreground, and a release at its end.
    const args = ['udhcpc', '-i', 'eth0', '-f', '-t', '5', '-T', '1', '-R', '-s', UDHCPC_SCRIPT];
    const client = pair.spawn('udhcpc', pair.netns('client'), 'busybox', ...args);
    await waitFor('a lease', () => /^bound /m.test(pair.log('udhcpc')));
    const [, ip, router] = /^bound (\S+) (\S+)$/m.exec(pair.log('udhcpc')) ?? [];
    expect(Number(ip?.replace('10.50.0.', ''))).toBeGreaterThanOrEqual(100);
    expect(router).toBe('10.50.0.1');
    const { mac } = box.client as Container;
    expect(pair.log('dnsmasq')).toMatch(new RegExp(`DHCPACK\\(eth0\\) ${ip} ${mac}`));
    expect(await pair.ping('client', (box.server as Container).ip, { count: 2 })).toMatchObject({ lossPercent: 0 });
    expect(await pair.ping('one-a', ip as string, { count: 2 })).toMatchObject({ lossPercent: 0 });
    // SIGUSR1: renew now, by unicast to the server.
    client.kill('SIGUSR1');
    await waitFor('the renewal', () => /^renew /m.test(pair.log('udhcpc')));
    client.kill('SIGTERM');
    await waitFor('the release', () => pair.log('dnsmasq').includes(`DHCPRELEASE(eth0) ${ip} ${mac}`));
  });
});

describe('IPv6 without a registry', () => {
  const addresses = async (name: string) =>
    (await pair.mustExec(name, 'ip', '-6', '-o', 'addr', 'show', 'dev', 'eth0')).stdout;

  it.each(['one-a', 'one-b'])(
    '%s makes itself an address from a router advertisement, and is reached by it',
    async (name) => {
      // From the start, as in a container whose runtime leaves IPv6 to the kernel.
      await shell(name, 'sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1; ip link set eth0 addrgenmode eui64');
      await shell(name, 'sysctl -qw net.ipv6.conf.eth0.accept_ra=1 net.ipv6.conf.eth0.disable_ipv6=0');
      await waitFor('an address', async () =>
        new RegExp(`${SUBNET6}\\S+/64 scope global (?!tentative)`).test(await addresses(name)),
      );
      const [, ip] = new RegExp(`(${SUBNET6}\\S+)/64`).exec(await addresses(name)) ?? [];
      expect(await pair.ping('server', ip as string, { count: 2 })).toMatchObject({ lossPercent: 0 });
    },
  );

  it('an address that a container of the other host has is found to be double', async () => {
    await shell('two-a', `ip addr add ${SUBNET6}::dd/64 dev eth0`);
    await waitFor('the first to keep it', async () => !/::dd\/64.*tentative/.test(await addresses('two-a')));
    await shell('two-b', `ip addr add ${SUBNET6}::dd/64 dev eth0`);
    await waitFor('the second to give it up', async () => /::dd\/64.*dadfailed/.test(await addresses('two-b')));
    expect(await addresses('two-a')).not.toMatch(/dadfailed/);
  });
});

describe('multicast', () => {
  it('mDNS: a name is asked for by multicast, and answered, across hosts', async () => {
    const { ip } = box['one-b'] as Container;
    const respond = [MDNS_PEER, 'respond', 'eth0', 'printer.local', ip];
    pair.spawn('mdns', pair.netns('one-b'), process.execPath, ...respond);
    await waitFor('the responder', () => pair.log('mdns').includes('ready'));
    const answer = await pair.mustExec('two-a', process.execPath, MDNS_PEER, 'ask', 'eth0', 'printer.local');
    expect(answer.json()).toEqual({ address: ip, from: ip, port: 5353 });
  });

  it.each([
    ['IPv4', '239.50.0.9', '6001'],
    ['IPv6', 'ff15::5009', '6002'],
  ])('%s: streams reach those who have joined on both hosts, once, and nobody else', async (family, group, port) => {
    const receivers = ['two-a', 'one-b', 'two-b'].map((name) => ({ name, role: 'receive' }));
    for (const { name, role } of [...receivers, { name: 'server', role: 'listen' }]) {
      const args = [MULTICAST_PEER, role, 'eth0', group, port];
      pair.spawn(`stream-${family}-${name}`, pair.netns(name), process.execPath, ...args);
    }
    const log = (name: string) => pair.log(`stream-${family}-${name}`);
    for (const name of ['two-a', 'one-b', 'two-b', 'server']) await waitFor(name, () => log(name).includes('ready'));
    // From each host, small and as large as the MTU lets them be.
    for (const [sender, stream, bytes] of [
      ['one-a', 'small', '100'],
      ['one-a', 'large', '1400'],
      ['client', 'other', '1000'],
    ] as const) {
      if (sender === 'client') await shell('client', 'ip addr replace 10.50.0.200/24 dev eth0');
      await pair.mustExec(sender, process.execPath, MULTICAST_PEER, 'send', 'eth0', group, port, stream, '400', bytes);
      for (const { name } of receivers) {
        await waitFor(`the end of ${stream} in ${name}`, () => log(name).includes(`${stream} `));
        expect(log(name)).toMatch(new RegExp(`^${stream} 400 0$`, 'm'));
      }
    }
    expect(log('server').trim()).toBe('ready');
  });
});

describe('traceroute', () => {
  it.each([
    ['UDP', []],
    ['ICMP', ['-I']],
    ['TCP', ['-T', '-p', '7007']],
  ])(
    'by %s: a container of the other host is one hop away, the other host itself is behind the gateway',
    async (_name, options) => {
      const hops = async (to: string) => {
        const args = ['-n', '-q', '1', '-w', '2', '-m', '5', ...options, to];
        const { stdout } = await pair.mustExec('one-a', 'traceroute', ...args);
        return [...stdout.matchAll(/^ *\d+ {2}(\S+)/gm)].map(([, address]) => address);
      };
      const { ip } = box['one-b'] as Container;
      expect(await hops(ip)).toEqual([ip]);
      expect(await hops('192.0.2.2')).toEqual(['10.50.0.1', '192.0.2.2']);
    },
  );
});

describe('nmap', () => {
  it('finds the containers of both hosts by ARP, with their MACs', async () => {
    const { stdout } = await pair.mustExec('one-a', 'nmap', '-n', '-sn', '-oX', '-', '10.50.0.1-12');
    const found = [...stdout.matchAll(/<address addr="(10\.50\S+)" addrtype="ipv4"\/>\s*(?:<address addr="(\S+)")?/g)];
    const macs = new Map(found.map(([, ip, mac]) => [ip, mac?.toLowerCase()]));
    for (const { ip, mac, name } of Object.values(box)) {
      if (name === 'client') continue;
      expect(macs.has(ip), name).toBe(true);
      if (name !== 'one-a') expect(macs.get(ip), name).toBe(mac);
    }
    expect(macs.has('10.50.0.1')).toBe(true);
    expect(macs.has('10.50.0.12')).toBe(false);
  });

  it('finds the open ports of a container on the other host, and that the others are closed', async () => {
    const { ip } = box['one-b'] as Container;
    await pair.transfer('one-a', 'one-b', ip, 'tcp', 1);
    const { stdout } = await pair.mustExec('one-a', 'nmap', '-n', '-Pn', '-sT', '-p', '6500-7010', '-oG', '-', ip);
    expect(stdout).toMatch(/Ports: 7007\/open\/tcp[^,]*Ignored State: closed \(510\)/);
  });
});

describe('a path that gets narrower', () => {
  it('TCP goes on both ways when a router with a smaller MTU comes in between, and new connections too', async () => {
    const [{ ip }, { ip: back }] = [box['one-b'], box['one-a']] as [Container, Container];
    pair.spawn('iperf3', pair.netns('one-b'), 'iperf3', '-s', '-1', '--forceflush');
    await waitFor('iperf3', () => pair.log('iperf3').includes('listening'));
    const stream = pair.mustExec('one-a', 'iperf3', '-c', ip, '-t', '4', '-i', '0.5', '--bidir', '-J');
    await waitFor('the streams', () => / MBytes .*bits/.test(pair.log('iperf3')));
    await routeBy(await pair.addNamespace('router'), 1400);
    const { intervals } = (await stream).json() as {
      intervals: Record<'sum' | 'sum_bidir_reverse', { bytes: number }>[];
    };
    const end = intervals.slice(-2);
    for (const way of ['sum', 'sum_bidir_reverse'] as const) {
      expect(
        end.reduce((bytes, interval) => bytes + interval[way].bytes, 0),
        way,
      ).toBeGreaterThan(1_000_000);
    }
    for (const [from, to, address] of [
      ['one-a', 'one-b', ip],
      ['one-b', 'one-a', back],
    ] as const) {
      expect(await pair.transfer(from, to, address, 'tcp', 4_000_000)).toMatchObject({ exact: true });
    }
    // It was by the router, and it had something to do.
    expect(await shell('router', 'cat /sys/class/net/to-b/statistics/tx_packets')).toMatch(/^\d{4,}/);
  });
});

/** A router between the hosts, whose link to b takes `mtu` bytes. */
async function routeBy(router: string, mtu: number): Promise<void> {
  for (const [host, n, own, other] of [
    ['a', 1, '192.0.2.1', '192.0.2.2'],
    ['b', 2, '192.0.2.2', '192.0.2.1'],
  ] as const) {
    const netns = pair.netns(host);
    const link = [
      'link',
      'add',
      `to-${host}`,
      'netns',
      router,
      'type',
      'veth',
      'peer',
      'name',
      'router',
      'netns',
      netns,
    ];
    expect((await run('ip', link)).stderr).toBe('');
    await shell('router', `ip addr add 198.51.100.${n * 10}/31 dev to-${host}; ip link set to-${host} up`);
    await shell(host, `ip addr add 198.51.100.${n * 10 + 1}/31 dev router; ip link set router up`);
    await shell('router', `ip route add ${own}/32 dev to-${host} via 198.51.100.${n * 10 + 1}`);
    await shell(host, `ip route add ${other}/32 via 198.51.100.${n * 10} dev router src ${own}`);
    if (host === 'b') await shell('router', `ip link set to-b mtu ${mtu}`);
  }
  await shell('router', 'sysctl -qw net.ipv4.ip_forward=1');
  for (const host of ['a', 'b']) await shell(host, 'sysctl -qw net.ipv4.conf.all.rp_filter=0');
  await shell('b', `ip link set router mtu ${mtu}; ip route get 192.0.2.1`);
  expect(await shell('a', 'ip route get 192.0.2.2')).not.toContain(UNDERLAY);
}
