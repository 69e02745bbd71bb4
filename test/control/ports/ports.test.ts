/** Kernel objects, made and looked at in real network namespaces (root). */
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ensureBridge, removeBridge } from '../../../src/control/ports/bridge.js';
import { Iproute, type Link } from '../../../src/control/ports/iproute.js';
import { LinkMonitor } from '../../../src/control/ports/link-monitor.js';
import { resolveSandbox } from '../../../src/control/ports/namespace.js';
import { adoptHostEnd, announce, chooseInterface, createVeth, removeVeth } from '../../../src/control/ports/veth.js';
import { inHost, ip, link, linkNames, Namespaces } from '../namespaces.js';

const ID = '0123456789abcdef0123456789abcdef';
const BRIDGE = { vni: 256, network: 'blue', mtuBytes: 1400 };
const PORT = {
  ...{ endpointId: ID, network: 'blue', vni: 256, mtuBytes: 1400, mac: '02:00:5e:10:00:01' },
  ...{ addresses: ['10.0.0.2/24'], containerInterface: 'eth0' },
};

const namespaces = new Namespaces();
let host: string;
let container: string;
let iproute: Iproute;

beforeEach(async () => {
  host = await namespaces.add();
  container = await namespaces.add();
  iproute = new Iproute(inHost(host));
});
afterEach(() => namespaces.removeAll());

describe('one link', () => {
  it('is told as the listing tells it, and one that is missing as such', async () => {
    await ensureBridge(iproute, BRIDGE);
    // Without what moves on by itself: the bridge's timers and its state.
    const still = ({ ifindex, ifname, address, mtu, ifalias, inet6_addr_gen_mode }: Link) => ({
      ifindex,
      ifname,
      address,
      mtu,
      ifalias,
      inet6_addr_gen_mode,
    });
    const listed = (await iproute.links()).find(({ ifname }) => ifname === 'vtep-b256');
    expect(still((await iproute.link('vtep-b256'))!)).toEqual(still(listed!));
    expect(await iproute.link('vtep-b257')).toBeUndefined();
    await expect(new Iproute(['false']).link('vtep-b256')).rejects.toMatchObject({ code: 'VTEP_ERR_KERNEL' });
  });
});

describe('bridge and TAP', () => {
  it("makes a quiet bridge with the gateway's MAC and takes the TAP in", async () => {
    await ip(host, 'tuntap', 'add', 'dev', 'vtep-t256', 'mode', 'tap');
    await ensureBridge(iproute, BRIDGE);
    const bridge = await link(host, 'vtep-b256');
    expect(bridge).toMatchObject({ mtu: 1400, inet6_addr_gen_mode: 'none', ifalias: 'vtep network=blue' });
    expect(bridge.linkinfo?.info_data).toMatchObject({ stp_state: 0, forward_delay: 0, mcast_snooping: 0 });
    expect(bridge.address).toBe('02:76:74:00:01:00');
    expect(bridge.flags).toContain('UP');
    const tap = await link(host, 'vtep-t256');
    expect(tap).toMatchObject({ master: 'vtep-b256', mtu: 1400, inet6_addr_gen_mode: 'none' });
    expect(tap.flags).toContain('UP');
    expect((await link(host, 'vtep-b256')).address).toBe(bridge.address);
  });

  it('adopts what is there and puts right what differs', async () => {
    await ip(host, 'tuntap', 'add', 'dev', 'vtep-t256', 'mode', 'tap');
    await ensureBridge(iproute, BRIDGE);
    const before = await link(host, 'vtep-b256');
    // As an earlier version made it.
    await ip(host, 'link', 'set', 'dev', 'vtep-b256', 'address', '02:11:22:33:44:55');
    await ip(host, 'link', 'set', 'dev', 'vtep-b256', 'type', 'bridge', 'mcast_snooping', '1');
    await ip(host, 'link', 'set', 'dev', 'vtep-t256', 'nomaster', 'down', 'mtu', '1300');
    await ensureBridge(iproute, BRIDGE);
    const after = await link(host, 'vtep-b256');
    expect(after.linkinfo?.info_data).toMatchObject({ mcast_snooping: 0 });
    expect(after.address).toBe(before.address);
    expect(await link(host, 'vtep-t256')).toMatchObject({ master: 'vtep-b256', mtu: 1400 });
    expect((await link(host, 'vtep-t256')).flags).toContain('UP');
  });

  it('removes both, twice without complaint', async () => {
    await ip(host, 'tuntap', 'add', 'dev', 'vtep-t256', 'mode', 'tap');
    await ensureBridge(iproute, BRIDGE);
    await removeBridge(iproute, 256);
    await removeBridge(iproute, 256);
    expect(await linkNames(host)).toEqual([]);
  });
});

describe('veth', () => {
  it('connects the container: MAC, MTU and address inside, a port of the bridge outside, no default route', async () => {
    await ensureBridge(iproute, BRIDGE);
    const sandbox = await resolveSandbox(iproute, { netns: container });
    await createVeth(iproute, sandbox, PORT);
    expect(await link(container, 'eth0')).toMatchObject({ address: '02:00:5e:10:00:01', mtu: 1400 });
    expect(await ip(container, '-4', '-brief', 'address')).toMatch(
      /lo +UNKNOWN +127.0.0.1\/8 *\neth0\S* +UP +10\.0\.0\.2\/24/,
    );
    expect(await ip(container, 'route')).toMatch(/^10\.0\.0\.0\/24 dev eth0[^\n]*$/);
    const outer = await link(host, 'vtep-p01234567');
    expect(outer).toMatchObject({ master: 'vtep-b256', mtu: 1400, inet6_addr_gen_mode: 'none' });
    expect(outer.ifalias).toBe(`vtep endpoint=${ID} network=blue`);
    await removeVeth(iproute, ID);
    await removeVeth(iproute, ID);
    expect(await linkNames(container)).toEqual([]);
  });

  it('announces the address so that it gets through the bridge', async () => {
    await ensureBridge(iproute, BRIDGE);
    const capture = ['tcpdump', '-i', 'vtep-b256', '-c', '1', '-n', '-l', '-xx', '-Z', 'root', 'arp'];
    const listener = execa('ip', ['netns', 'exec', host, 'timeout', '15', ...capture], { reject: false });
    await new Promise((resolve) => listener.stderr.once('data', resolve));
    const sandbox = await resolveSandbox(iproute, { netns: container });
    await createVeth(iproute, sandbox, PORT);
    await announce(iproute, sandbox.path, PORT);
    // Broadcast, from the endpoint's MAC, sender and target both 10.0.0.2.
    const { stdout } = await listener;
    const bytes = [...stdout.matchAll(/0x[0-9a-f]+: +(.*)/g)].map(([, hex]) => hex?.replaceAll(' ', '')).join('');
    expect(bytes).toMatch(/ffffffffffff02005e100001.*0a000002.*0a000002/);
  });

  it('gives an IPv6 address that works at once, and advertises it through the bridge', async () => {
    await ensureBridge(iproute, BRIDGE);
    const port = { ...PORT, addresses: ['10.0.0.2/24', 'fd00:2::2/64'] };
    const filter = 'icmp6 and ip6[40] = 136 and src host fd00:2::2';
    const capture = ['tcpdump', '-i', 'vtep-b256', '-c', '1', '-n', '-l', '-e', '-v', '-Z', 'root', filter];
    const listener = execa('ip', ['netns', 'exec', host, 'timeout', '15', ...capture], { reject: false });
    await new Promise((resolve) => listener.stderr.once('data', resolve));
    // As a container engine has it.
    await execa('ip', ['netns', 'exec', container, 'sysctl', '-qw', 'net.ipv6.conf.default.disable_ipv6=1']);
    const sandbox = await resolveSandbox(iproute, { netns: container });
    await createVeth(iproute, sandbox, port);
    const shown = await ip(container, '-6', 'address', 'show', 'dev', 'eth0');
    expect(shown).toMatch(/inet6 fd00:2::2\/64 scope global/);
    expect(shown).not.toMatch(/fd00:2::2.*tentative/);
    await announce(iproute, sandbox.path, port);
    const { stdout } = await listener;
    // Unsolicited, to all nodes, from the endpoint's MAC, with the flag that overrides what was known.
    expect(stdout).toMatch(/02:00:5e:10:00:01 > 33:33:00:00:00:01/);
    expect(stdout).toMatch(
      /fd00:2::2 > ff02::1: .*neighbor advertisement, length 32, tgt is fd00:2::2, Flags \[override\]/s,
    );
  });

  it('leaves nothing of a veth that could not be finished', async () => {
    const sandbox = await resolveSandbox(iproute, { netns: container });
    // There is no bridge to go into.
    await expect(createVeth(iproute, sandbox, PORT)).rejects.toMatchObject({ code: 'VTEP_ERR_KERNEL' });
    expect(await linkNames(host)).toEqual([]);
    expect(await linkNames(container)).toEqual([]);
  });

  it('chooses the first free ethN and refuses a name that is taken', async () => {
    await ip(container, 'link', 'add', 'eth0', 'type', 'bridge');
    await ip(container, 'link', 'add', 'eth2', 'type', 'bridge');
    const sandbox = await resolveSandbox(iproute, { netns: container });
    expect(await chooseInterface(iproute, sandbox, undefined)).toBe('eth1');
    expect(await chooseInterface(iproute, sandbox, 'net0')).toBe('net0');
    await expect(chooseInterface(iproute, sandbox, 'eth2')).rejects.toMatchObject({
      code: 'VTEP_ERR_INTERFACE_EXISTS',
    });
  });

  it('takes a name that an iproute2 batch would take for a comment', async () => {
    await ensureBridge(iproute, BRIDGE);
    const sandbox = await resolveSandbox(iproute, { netns: container });
    await createVeth(iproute, sandbox, { ...PORT, containerInterface: 'a#b' });
    expect((await link(container, 'a#b')).flags).toContain('UP');
  });

  it('puts a host end back into the bridge', async () => {
    await ensureBridge(iproute, BRIDGE);
    await createVeth(iproute, await resolveSandbox(iproute, { netns: container }), PORT);
    await ip(host, 'link', 'set', 'dev', 'vtep-p01234567', 'nomaster', 'down');
    expect(await adoptHostEnd(iproute, PORT)).toBe(true);
    expect((await link(host, 'vtep-p01234567')).master).toBe('vtep-b256');
    await removeVeth(iproute, ID);
    expect(await adoptHostEnd(iproute, PORT)).toBe(false);
  });
});

describe('resolveSandbox', () => {
  it('knows a namespace by name, by path and by pid as the same one', async () => {
    const byName = await resolveSandbox(iproute, { netns: container });
    expect(byName).toMatchObject({ label: `netns:${container}`, defaultName: container });
    const byPath = await resolveSandbox(iproute, { netns: `/run/netns/${container}` });
    const sleeper = execa('ip', ['netns', 'exec', container, 'sleep', '60'], { reject: false });
    try {
      const input = { pid: sleeper.pid! };
      await vi.waitFor(async () => expect((await resolveSandbox(iproute, input)).identity).toBe(byName.identity), 5000);
      expect(byPath.identity).toBe(byName.identity);
    } finally {
      sleeper.kill('SIGKILL');
      await sleeper;
    }
  });

  it.each([
    [{ netns: 'vtct-none' }, /ip netns add vtct-none/],
    [{ netns: '/run/netns/vtct-none' }, /does not exist/],
    [{ netns: '../proc/self/ns/net' }, /neither a name/],
    [{ netns: '/etc/passwd' }, /no network namespace/],
    [{ netns: '/proc/self/ns/mnt' }, /no network namespace/],
    [{ pid: 4_194_304 }, /process 4194304 does not run/],
  ])('refuses %j', async (input, message) => {
    await expect(resolveSandbox(iproute, input)).rejects.toMatchObject({
      code: 'VTEP_ERR_NAMESPACE_UNKNOWN',
      message: expect.stringMatching(message),
    });
  });

  it("refuses the host's own namespace, by whatever name", async () => {
    await expect(resolveSandbox(iproute, { netns: host })).rejects.toMatchObject({ code: 'VTEP_ERR_INVALID' });
    await expect(resolveSandbox(new Iproute(), { pid: process.pid })).rejects.toMatchObject({
      code: 'VTEP_ERR_INVALID',
    });
  });
});

describe('LinkMonitor', () => {
  it('calls once for a burst and again for the next, and ends', async () => {
    const onChange = vi.fn();
    const monitor = new LinkMonitor(iproute, onChange);
    try {
      // Until it listens nothing is heard.
      await vi.waitFor(async () => {
        await ip(host, 'link', 'set', 'dev', 'lo', 'up');
        await ip(host, 'link', 'set', 'dev', 'lo', 'down');
        expect(onChange).toHaveBeenCalled();
      }, 5000);
      await sleep(300);
      onChange.mockClear();
      await ip(host, 'link', 'add', 'd0', 'type', 'bridge');
      await ip(host, 'link', 'add', 'd1', 'type', 'bridge');
      await vi.waitFor(() => expect(onChange).toHaveBeenCalled(), 5000);
    } finally {
      await monitor.close();
    }
    onChange.mockClear();
    await ip(host, 'link', 'del', 'd0');
    await sleep(300);
    expect(onChange).not.toHaveBeenCalled();
  });
});
