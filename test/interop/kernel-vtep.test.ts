/**
 * vtepd on host `a` against the kernel's own VXLAN on host `b`: a device with learning on and one head-end entry. The
 * kernel's address is made a peer of the network; nothing else is known of it, so its MAC has to be learnt.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Container, createHostPair, type HostPair, waitFor } from '../e2e/host-pair.js';

const NETWORK = 'mixed';
const VNI = '4242';
const KERNEL_MAC = '02:00:5e:00:00:64';
const KERNEL_IP = '10.0.0.100';
const KERNEL_IP6 = 'fd00::100';

describe('a kernel VTEP as the other end', () => {
  let pair: HostPair;
  let container: Container;

  beforeAll(async () => {
    pair = await createHostPair({ startDaemons: false });
    await pair.startDaemon('a');
    const addVxlan = 'link add vx0 address'.split(' ');
    const vxlan = `type vxlan id ${VNI} dstport 4789 local 192.0.2.2 dev ens33 learning`.split(' ');
    await pair.mustExec('b', 'ip', ...addVxlan, KERNEL_MAC, ...vxlan);
    await pair.mustExec('b', 'bridge', 'fdb', 'append', '00:00:00:00:00:00', 'dev', 'vx0', 'dst', '192.0.2.1');
    await pair.mustExec('b', 'ip', 'addr', 'add', `${KERNEL_IP}/24`, 'dev', 'vx0');
    await pair.mustExec('b', 'ip', 'addr', 'add', `${KERNEL_IP6}/64`, 'dev', 'vx0', 'nodad');
    await pair.mustExec('b', 'ip', 'link', 'set', 'vx0', 'mtu', '1450', 'up');
    // The container's IPv6 address below is not vtep's.
    const own = ['--subnet', '10.0.0.0/24', '--port-security', 'off'];
    await pair.mustVtep('a', 'network', 'create', NETWORK, '--vni', VNI, ...own);
    await pair.mustVtep('a', 'peer', 'add', '--network', NETWORK, '--address', '192.0.2.2');
    container = await pair.addContainer('a', 'box', NETWORK);
    await pair.mustExec('box', 'ip', 'addr', 'add', 'fd00::2/64', 'dev', container.interface, 'nodad');
  });
  afterAll(async () => {
    await pair?.cleanup();
  });

  const status = async () => (await pair.mustVtep('a', 'status', '--json')).json();
  const drop = async (name: string): Promise<number> => (await status()).drops[name];

  it('answers ping both ways, over IPv4 and IPv6', async () => {
    await waitFor('the peer to be in the tables', async () => (await status()).vteps.length === 1);
    for (const [from, to] of [
      ['box', KERNEL_IP],
      ['b', container.ip],
      ['box', KERNEL_IP6],
      ['b', 'fd00::2'],
    ] as const) {
      expect((await pair.ping(from, to)).lossPercent, `${from} to ${to}`).toBe(0);
    }
  });

  it('has learnt the kernel end, and the kernel has learnt ours', async () => {
    const fdb = (await pair.mustVtep('a', 'fdb', '--network', NETWORK, '--json')).json();
    expect(fdb).toContainEqual(
      expect.objectContaining({ mac: KERNEL_MAC, kind: 'dynamic', vtep: { address: '192.0.2.2', port: 4789 } }),
    );
    expect(fdb).toContainEqual(expect.objectContaining({ mac: container.mac, kind: 'local' }));
    const kernel = (await pair.mustExec('b', 'bridge', 'fdb', 'show', 'dev', 'vx0')).stdout;
    expect(kernel).toContain(`${container.mac} dst 192.0.2.1`);
  });

  it.each([1, 100, 1400, 1_048_577])('carries %i bytes of TCP both ways, exact', async (bytes) => {
    for (const [from, to, address] of [
      ['box', 'b', KERNEL_IP],
      ['b', 'box', container.ip],
    ] as const) {
      const result = await pair.transfer(from, to, address, 'tcp', bytes);
      expect(result).toMatchObject({ sentBytes: bytes, answeredBytes: bytes, exact: true });
    }
  });

  // 1422 is the largest UDP payload in the overlay's MTU of 1450; beyond it the sender fragments.
  it.each([1, 64, 1421, 1422, 1423, 4000])('carries UDP datagrams of %i bytes both ways, exact', async (bytes) => {
    for (const [from, to, address] of [
      ['box', 'b', KERNEL_IP],
      ['b', 'box', container.ip],
    ] as const) {
      const result = await pair.transfer(from, to, address, 'udp', bytes * 5, bytes);
      expect(result).toMatchObject({ sentBytes: bytes * 5, exact: true, lostDatagrams: 0 });
    }
  });

  it('drops and counts what comes from a VTEP that is no peer', async () => {
    const before = await drop('vtep_not_member');
    await pair.mustExec('b', 'ip', 'addr', 'add', '192.0.2.66/24', 'dev', 'ens33');
    await pair.mustExec('b', 'ip', 'link', 'set', 'vx0', 'type', 'vxlan', 'local', '192.0.2.66');
    try {
      expect((await pair.ping('b', container.ip, { count: 2, args: ['-W', '1'] })).received).toBe(0);
      expect(await drop('vtep_not_member')).toBeGreaterThan(before);
    } finally {
      await pair.mustExec('b', 'ip', 'link', 'set', 'vx0', 'type', 'vxlan', 'local', '192.0.2.2');
    }
    expect((await pair.ping('b', container.ip)).received).toBeGreaterThan(0);
  });

  it("refuses frames with the gateway's MAC, which each host has of its own", async () => {
    const before = await drop('local_mac');
    await pair.mustExec('b', 'ip', 'link', 'set', 'vx0', 'address', '02:76:74:00:10:92');
    try {
      expect((await pair.ping('b', container.ip, { count: 2, args: ['-W', '1'] })).received).toBe(0);
      expect(await drop('local_mac')).toBeGreaterThan(before);
    } finally {
      await pair.mustExec('b', 'ip', 'link', 'set', 'vx0', 'address', KERNEL_MAC);
    }
    await waitFor('the kernel end to be heard again', async () => {
      return (await pair.ping('b', container.ip, { count: 1 })).received > 0;
    });
  });

  it('forgets the kernel end when the peer is removed', async () => {
    await pair.mustVtep('a', 'peer', 'rm', '--network', NETWORK, '--address', '192.0.2.2');
    await waitFor('the peer to be gone', async () => (await status()).vteps.length === 0);
    const fdb = (await pair.mustVtep('a', 'fdb', '--network', NETWORK, '--json')).json() as { mac: string }[];
    // The network's gateway, which every host has, and the container.
    expect(fdb.map(({ mac }) => mac).sort()).toEqual(['02:76:74:00:10:92', container.mac].sort());
    expect((await pair.ping('box', KERNEL_IP, { count: 2, args: ['-W', '1'] })).received).toBe(0);
  });
});
