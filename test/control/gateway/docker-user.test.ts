/** The gateway beside Docker's firewall, whose chains are made here as dockerd makes them, in real namespaces (root). */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { GatewaySite, WORLD } from './gateway-site.js';

const BLUE = { name: 'blue', vni: 256, internal: false, subnets: [{ cidr: '10.0.0.0/24', gateway: '10.0.0.1' }] };
const INTERNAL = { name: 'db', vni: 257, internal: true, subnets: [{ cidr: '10.0.1.0/24', gateway: '10.0.1.1' }] };

let site: GatewaySite;
beforeEach(async () => {
  site = await GatewaySite.make();
});
afterEach(() => site.cleanup());

async function iptables(command: string): Promise<string> {
  const { exitCode, stdout, stderr } = await site.exec(site.host, 'iptables', '-w', ...command.split(' '));
  if (exitCode !== 0) throw new Error(`iptables ${command}: ${stderr}`);
  return stdout;
}

/** As dockerd at its start: what is there already stays. */
async function startDocker(): Promise<void> {
  await iptables('-P FORWARD DROP');
  await iptables('-N DOCKER-USER').catch(() => undefined);
  await iptables('-C DOCKER-USER -j RETURN').catch(() => iptables('-A DOCKER-USER -j RETURN'));
  await iptables('-D FORWARD -j DOCKER-USER').catch(() => undefined);
  await iptables('-I FORWARD -j DOCKER-USER');
}

describe.each(['before', 'after'])('a dockerd that starts %s vtepd', (order) => {
  it('stops neither containers of one host nor their way out', async () => {
    if (order === 'before') await startDocker();
    site.gateway = site.manager(undefined, true);
    await site.open(BLUE);
    if (order === 'after') await startDocker();
    const [one, two] = [await site.attach(BLUE, ['10.0.0.2/24']), await site.attach(BLUE, ['10.0.0.3/24'])];
    expect(await site.pings(one, '10.0.0.3')).toBe(true);
    expect(await site.pings(two, WORLD[4])).toBe(true);
    expect(site.gateway.status().problems).toEqual([]);
  });
});

it('is needed: without it Docker stops what the bridge carries', async () => {
  await startDocker();
  await site.open(BLUE);
  const one = await site.attach(BLUE, ['10.0.0.2/24']);
  await site.attach(BLUE, ['10.0.0.3/24']);
  expect(await site.pings(one, '10.0.0.1')).toBe(true);
  expect(await site.pings(one, '10.0.0.3', 1)).toBe(false);
  expect(site.gateway.status().problems).toEqual([expect.stringMatching(/"ip filter FORWARD".*drops/)]);
});

it("serves internal networks, puts back what was removed, keeps others' rules, goes with the last network", async () => {
  await startDocker();
  site.gateway = site.manager(undefined, true);
  await site.open(INTERNAL);
  const one = await site.attach(INTERNAL, ['10.0.1.2/24']);
  await site.attach(INTERNAL, ['10.0.1.3/24']);
  expect(await site.pings(one, '10.0.1.3')).toBe(true);
  expect(await site.pings(one, WORLD[4], 1)).toBe(false);
  const before = await iptables('-S');
  await site.gateway.check();
  expect(await iptables('-S')).toBe(before);

  await iptables('-F DOCKER-USER');
  await iptables('-A DOCKER-USER -s 203.0.113.7/32 -j DROP');
  await iptables('-F VTEP-FORWARD');
  await site.gateway.check();
  await vi.waitFor(async () => expect(await site.pings(one, '10.0.1.3')).toBe(true), 10_000);
  expect(await iptables('-S DOCKER-USER')).toBe(
    '-N DOCKER-USER\n-A DOCKER-USER -j VTEP-FORWARD\n-A DOCKER-USER -s 203.0.113.7/32 -j DROP',
  );

  await site.gateway.closeNetwork(INTERNAL.name);
  expect(await iptables('-S')).not.toMatch(/VTEP/);
  expect(await iptables('-S DOCKER-USER')).toBe('-N DOCKER-USER\n-A DOCKER-USER -s 203.0.113.7/32 -j DROP');
});

it("leaves Docker's own bridges to Docker's rules", async () => {
  await startDocker();
  site.gateway = site.manager(undefined, true);
  await site.open(BLUE);
  const one = await site.attach(BLUE, ['10.0.0.2/24']);
  const other = await site.namespaces.add();
  for (const command of [
    'link add docker0 type bridge',
    'address add 172.17.0.1/16 dev docker0',
    'link set docker0 up',
    `link add veth0 type veth peer name eth0 netns ${other}`,
    'link set veth0 master docker0 up',
  ]) {
    await site.exec(site.host, 'ip', ...command.split(' '));
  }
  await site.exec(other, 'ip', 'address', 'add', '172.17.0.2/16', 'dev', 'eth0');
  await site.exec(other, 'ip', 'link', 'set', 'eth0', 'up');
  await site.exec(other, 'ip', 'route', 'add', 'default', 'via', '172.17.0.1');
  expect(await site.pings(site.host, '172.17.0.2')).toBe(true);
  expect(await site.pings(one, '172.17.0.2', 1)).toBe(false);
  // As Docker does for a published port.
  await iptables('-A FORWARD -o docker0 -p icmp -j ACCEPT');
  expect(await site.pings(one, '172.17.0.2')).toBe(true);
});
