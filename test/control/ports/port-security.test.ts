/**
 * Port security in real namespaces (root): what passes at a port and what does not, and the table over restarts, changes
 * by others, and a host without nft.
 */
import { execa } from 'execa';
import { type Logger, pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Nftables } from '../../../src/control/gateway/nftables.js';
import { ensureBridge } from '../../../src/control/ports/bridge.js';
import { Iproute } from '../../../src/control/ports/iproute.js';
import { hostInterfaceName } from '../../../src/control/ports/names.js';
import { resolveSandbox } from '../../../src/control/ports/namespace.js';
import { PORT_TABLE, type SecuredPort } from '../../../src/control/ports/port-ruleset.js';
import { PortSecurity } from '../../../src/control/ports/port-security.js';
import { createVeth, removeVeth } from '../../../src/control/ports/veth.js';
import { inHost, ip, Namespaces } from '../namespaces.js';
import { dropsOf, FrameListener, fence, interfaceIndex, type Sender, sendCommand, spoofs } from './spoofs.js';

const SILENT = pino({ level: 'silent' });
const WAIT = { timeout: 20_000, interval: 30 };
const ONE: Sender = { mac: '02:00:5e:10:00:01', ipv4: '10.0.0.2', ipv6: 'fd00::2' };
const TWO: Sender = { mac: '02:00:5e:10:00:02', ipv4: '10.0.0.3', ipv6: 'fd00::3' };
const GATEWAY = { ipv4: '10.0.0.1', ipv6: 'fd00::1' };
const id = (digit: number): string => String(digit).repeat(32);
const portOf = (digit: number, { mac, ipv4, ipv6 }: Sender): SecuredPort => ({
  interface: hostInterfaceName(id(digit)),
  network: 'blue',
  mac,
  addresses: [`${ipv4}/24`, `${ipv6}/64`],
});

const namespaces = new Namespaces();
const securities: PortSecurity[] = [];
let host: string;
beforeEach(async () => {
  host = await namespaces.add();
});
afterEach(async () => {
  for (const security of securities.splice(0)) await security.close();
  await namespaces.removeAll();
});

function begin(logger: Logger = SILENT, program?: string): PortSecurity {
  const security = new PortSecurity(new Nftables(inHost(host), program, PORT_TABLE), logger);
  securities.push(security);
  return security;
}

const nft = async (...args: string[]): Promise<string> =>
  (await execa(inHost(host)[0]!, [...inHost(host).slice(1), 'nft', ...args], { reject: false })).stdout;
const table = () => nft('-s', '-n', 'list', 'table', 'bridge', 'vtep');
/** Without the order of a set's elements, which a hash gives. */
const sorted = (text: string) => text.split(/[\s,]+/).sort();

describe('a container', () => {
  const listeners: FrameListener[] = [];
  afterEach(async () => {
    for (const listener of listeners.splice(0)) await listener.stop();
  });

  async function attach(digit: number, sender: Sender): Promise<string> {
    const container = await namespaces.add();
    const iproute = new Iproute(inHost(host));
    await createVeth(iproute, await resolveSandbox(iproute, { netns: container }), {
      ...{ endpointId: id(digit), network: 'blue', vni: 256, mtuBytes: 1450, mac: sender.mac },
      ...{ addresses: [`${sender.ipv4}/24`, `${sender.ipv6}/64`], containerInterface: 'eth0' },
    });
    return container;
  }

  const exec =
    (netns: string) =>
    (...command: string[]) =>
      execa('ip', ['netns', 'exec', netns, ...command]);

  async function listen(netns: string, name: string): Promise<FrameListener> {
    const listener = new FrameListener(netns, await interfaceIndex(exec(netns), name));
    listeners.push(listener);
    await vi.waitFor(() => expect(listener.isReady()).toBe(true), WAIT);
    return listener;
  }

  it('sends from its own MAC and addresses only: to a neighbour, to the tunnel, to the gateway', async () => {
    const security = begin();
    await ensureBridge(new Iproute(inHost(host)), { vni: 256, network: 'blue', mtuBytes: 1450 });
    // The tunnel's port, which is not secured: what others' containers send comes by it.
    const tunnel = await namespaces.add();
    await ip(host, 'link', 'add', 'vtep-t256', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', tunnel);
    await ip(host, 'link', 'set', 'vtep-t256', 'master', 'vtep-b256', 'up');
    await ip(tunnel, 'link', 'set', 'eth0', 'up');
    await security.secure(portOf(1, ONE));
    await security.secure(portOf(2, TWO));
    const [one, two] = [await attach(1, ONE), await attach(2, TWO)];
    const all = spoofs(ONE, GATEWAY);
    const places = {
      neighbour: await listen(two, 'eth0'),
      tunnel: await listen(tunnel, 'eth0'),
      gateway: await listen(host, 'vtep-b256'),
    };
    const end = fence(ONE);
    // The bridge's port opens a moment after its carrier is there.
    await vi.waitFor(async () => {
      await exec(one)(...sendCommand(await interfaceIndex(exec(one), 'eth0'), [...all, end]));
      for (const listener of Object.values(places)) expect(listener.hasSeen(end)).toBe(true);
    }, WAIT);
    for (const [place, listener] of Object.entries(places)) {
      const passed = all.filter((spoof) => listener.hasSeen(spoof)).map(({ name }) => name);
      expect(passed, place).toEqual(all.filter(({ cause }) => cause === undefined).map(({ name }) => name));
    }

    // The tunnel brings frames of any source.
    const foreign = { ...TWO, mac: '02:00:5e:99:99:99' };
    const [own, last] = [spoofs(foreign, GATEWAY), fence(foreign)];
    await exec(tunnel)(...sendCommand(await interfaceIndex(exec(tunnel), 'eth0'), [...own, last]));
    await vi.waitFor(() => expect(places.neighbour.hasSeen(last)).toBe(true), WAIT);
    expect(own.filter((spoof) => !places.neighbour.hasSeen(spoof))).toEqual([]);

    // Counted at the port, all of them, perhaps of several turns.
    const status = await security.status();
    const counted = status.dropsOfPorts.get('vtep-p11111111')!;
    const once = dropsOf(all);
    expect(counted.source_mac % once.source_mac).toBe(0);
    expect(counted.source_mac / once.source_mac).toBeGreaterThan(0);
    expect(counted.source_address / once.source_address).toBe(counted.source_mac / once.source_mac);
    expect(status.dropsOfPorts.get('vtep-p22222222')).toEqual({ source_mac: 0, source_address: 0 });
    expect(status.dropsOfNetworks.get('blue')).toEqual(counted);

    // A port that is not secured sends what it likes; its counts stay with the network.
    await security.release('vtep-p11111111');
    for (const listener of Object.values(places)) listener.forget();
    await exec(one)(...sendCommand(await interfaceIndex(exec(one), 'eth0'), [...all, end]));
    for (const [place, listener] of Object.entries(places)) {
      await vi.waitFor(() => expect(listener.hasSeen(end)).toBe(true), WAIT);
      expect(
        all.filter((spoof) => !listener.hasSeen(spoof)).map(({ name }) => name),
        place,
      ).toEqual([]);
    }
    expect((await security.status()).dropsOfNetworks.get('blue')).toEqual(counted);
    await removeVeth(new Iproute(inHost(host)), id(1));
  });
});

describe('the table', () => {
  it('is made with the first port, gets one element of each set for the next, and goes with the last', async () => {
    const security = begin();
    await security.restore([], []);
    expect(await table()).toBe('');
    await security.secure(portOf(1, ONE));
    const single = await table();
    await security.secure(portOf(2, TWO));
    await security.secure(portOf(2, TWO));
    const both = await table();
    for (const element of ['"vtep-p22222222" . 02:00:5e:10:00:02 . 10.0.0.3', '"vtep-p22222222" . 10.0.0.3']) {
      expect(both.split(element).length).toBe(2);
    }
    await security.release('vtep-p22222222');
    expect(await table()).toBe(single);
    await security.release('vtep-p22222222');
    await security.release('vtep-p11111111');
    expect(await table()).toBe('');
    expect(await security.status()).toMatchObject({ ports: 0 });
  });

  it('stays when vtepd ends, and is taken up again with its counts and without what was left over', async () => {
    await begin().secure(portOf(1, ONE));
    const before = await table();
    await securities[0]!.secure(portOf(2, TWO));
    await nft('delete', 'element', 'bridge', 'vtep', 'source-mac', '{ "vtep-p11111111" }');
    await nft('add', 'element', 'bridge', 'vtep', 'source-mac', '{ "vtep-p11111111" counter packets 7 bytes 0 }');
    const again = begin();
    await again.restore([portOf(1, ONE)], []);
    expect(sorted(await table())).toEqual(sorted(before));
    expect((await again.status()).dropsOfPorts).toEqual(
      new Map([['vtep-p11111111', { source_mac: 7, source_address: 0 }]]),
    );
    await again.restore([portOf(1, ONE)], []);
    expect((await again.status()).dropsOfNetworks.get('blue')).toEqual({ source_mac: 7, source_address: 0 });
  });

  it('keeps the ports of endpoints that the local copy has lost', async () => {
    await begin().secure(portOf(1, ONE));
    const before = await table();
    const again = begin();
    await again.restore([], [{ interface: 'vtep-p11111111', network: 'blue' }]);
    expect(sorted(await table())).toEqual(sorted(before));
    await again.secure(portOf(1, ONE));
    expect(sorted(await table())).toEqual(sorted(before));
  });

  it.each([
    ['an element', ['delete', 'element', 'bridge', 'vtep', 'ports', '{ "vtep-p11111111" }']],
    ['a foreign element', ['add', 'element', 'bridge', 'vtep', 'ipv4', '{ "vtep-p11111111" . 10.0.0.9 }']],
    ['the rules of a chain', ['flush', 'chain', 'bridge', 'vtep', 'arp-sender']],
    ['all of it', ['delete', 'table', 'bridge', 'vtep']],
  ])('is put back when someone changes %s', async (_what, command) => {
    const security = begin();
    await security.secure(portOf(1, ONE));
    const before = await table();
    const handles = await nft('-a', 'list', 'table', 'bridge', 'vtep');
    await security.check();
    expect(await nft('-a', 'list', 'table', 'bridge', 'vtep'), 'a look changes nothing').toBe(handles);
    await nft(...command);
    expect(await table()).not.toBe(before);
    await security.check();
    expect(sorted(await table())).toEqual(sorted(before));
  });

  it('needs no /etc/protocols, which images for containers leave out', async () => {
    await begin().secure(portOf(1, ONE));
    const before = await table();
    await nft('delete', 'table', 'bridge', 'vtep');
    const hidden = ['unshare', '--mount', 'sh', '-c', 'mount --bind /dev/null /etc/protocols && exec "$@"', 'sh'];
    const security = new PortSecurity(new Nftables([...inHost(host), ...hidden], undefined, PORT_TABLE), SILENT);
    securities.push(security);
    await security.secure(portOf(1, ONE));
    expect(await security.status()).not.toHaveProperty('problem');
    expect(sorted(await table())).toEqual(sorted(before));
    await security.check();
    expect(sorted(await table())).toEqual(sorted(before));
  });

  it('is put back by the next attach when it is gone', async () => {
    const security = begin();
    await security.secure(portOf(1, ONE));
    await nft('delete', 'table', 'bridge', 'vtep');
    await security.secure(portOf(2, TWO));
    expect(await table()).toContain('"vtep-p11111111" . 10.0.0.2');
    expect(await table()).toContain('"vtep-p22222222" . 10.0.0.3');
  });
});

describe('without nft', () => {
  function log(): { lines: string[]; logger: Logger } {
    const lines: string[] = [];
    return { lines, logger: pino({}, { write: (line: string) => void lines.push(line) }) };
  }

  it('ports work without it, status says so, and the log once', async () => {
    const { lines, logger } = log();
    const security = begin(logger, 'vtep-no-such-program');
    await security.restore([portOf(1, ONE)], []);
    await security.secure(portOf(2, TWO));
    await security.check();
    expect(await security.status()).toMatchObject({ ports: 2, problem: expect.stringMatching(/nft is not installed/) });
    const told = lines.filter((line) => line.includes('ports.unsupported'));
    expect(told).toEqual([expect.stringContaining('port security: unsupported')]);
  });

  it('that has worked, a port that can not be secured is refused', async () => {
    const real = new Nftables(inHost(host), undefined, PORT_TABLE);
    let broken = false;
    const apply = async (text: string) => {
      if (broken) throw new Error('no memory');
      await real.apply(text);
    };
    const security = new PortSecurity(
      { apply, listing: (format) => real.listing(format), remove: () => real.remove() },
      SILENT,
    );
    securities.push(security);
    await security.secure(portOf(1, ONE));
    broken = true;
    await expect(security.secure(portOf(2, TWO))).rejects.toMatchObject({ code: 'VTEP_ERR_KERNEL' });
    expect(await security.status()).toMatchObject({ ports: 1, problem: 'no memory' });
    broken = false;
    await security.check();
    expect(await security.status()).not.toHaveProperty('problem');
    expect(await table()).not.toContain('vtep-p22222222');
  });
});
