/** `vtep node ls`, `vtep fdb`, `vtep neigh` and `vtep status`: what this host knows and does. */
import type { Command } from 'commander';
import { z } from 'zod';
import { fdbSchema, neighbourSchema, nodeSchema, type Status, statusSchema } from '../control/api/schema.js';
import { allIps, endText } from '../control/vtep-address.js';
import type { ContextOf } from './context.js';
import { counterRows, dropsText } from './drops.js';
import { withNetwork } from './endpoint.js';
import { formatDuration, formatFields, formatTable, printable } from './table.js';

export function addHostCommands(program: Command, contextOf: ContextOf): void {
  const node = program
    .command('node')
    .description('list the hosts')
    .usage('ls')
    .addHelpText(
      'after',
      `
Examples:
  vtep node ls`,
    );
  node
    .command('ls')
    .description('list the hosts that run vtepd; * marks this one')
    .addHelpText(
      'after',
      `
Examples:
  vtep node ls
  vtep node ls --json`,
    )
    .action(async (_options: unknown, command: Command) => {
      const { client, print } = contextOf(command);
      const { raw, value } = await client.call(z.array(nodeSchema), 'GET', '/v1/nodes');
      print(raw, () => {
        const rows = value.map((n) => [n.name, vtepText(n.vtep), n.self ? '*' : '']);
        return formatTable(['NAME', 'VTEP', 'SELF'], rows);
      });
    });

  program
    .command('fdb')
    .description('show where this host sends frames: MAC address to VTEP')
    .option('--network <name>', 'of this network only')
    .addHelpText(
      'after',
      `
Kinds: local (a container on this host, or its gateway), static (from the registry), dynamic (learnt from the tunnel).

Examples:
  vtep fdb
  vtep fdb --network my_overlay --json`,
    )
    .action(async (options: { network?: string }, command: Command) => {
      const { client, print } = contextOf(command);
      const { raw, value } = await client.call(z.array(fdbSchema), 'GET', withNetwork('/v1/fdb', options.network));
      print(raw, () => {
        const rows = value.map((e) => [
          e.network,
          String(e.vni),
          e.mac,
          e.kind,
          e.vtep ? endText(e.vtep.address, e.vtep.port) : '-',
          e.idleSeconds === undefined ? '-' : formatDuration(e.idleSeconds),
        ]);
        return formatTable(['NETWORK', 'VNI', 'MAC', 'KIND', 'VTEP', 'IDLE'], rows);
      });
    });

  program
    .command('neigh')
    .description('show which ARP requests and neighbour solicitations this host answers: IP address to MAC address')
    .option('--network <name>', 'of this network only')
    .addHelpText(
      'after',
      `
Kinds: remote (a container on another host: answered here), local and gateway (on this host: the request stays here).
What is not listed is flooded. A network with --arp-suppression off floods all.

Examples:
  vtep neigh
  vtep neigh --network my_overlay --json`,
    )
    .action(async (options: { network?: string }, command: Command) => {
      const { client, print } = contextOf(command);
      const path = withNetwork('/v1/neighbours', options.network);
      const { raw, value } = await client.call(z.array(neighbourSchema), 'GET', path);
      print(raw, () => {
        const rows = value.map((n) => [
          ...[n.network, n.address, n.mac, n.kind, n.node ?? '-'],
          n.vtep ? `${n.vtep.address}:${n.vtep.port}` : '-',
        ]);
        return formatTable(['NETWORK', 'ADDRESS', 'MAC', 'KIND', 'NODE', 'VTEP'], rows);
      });
    });

  program
    .command('status')
    .description('show how vtepd is: registry, workers, offloads, counters')
    .option('--drops', 'only the frames that were dropped, by cause')
    .addHelpText(
      'after',
      `
Examples:
  vtep status
  vtep status --drops
  vtep status --json`,
    )
    .action(async (options: { drops?: boolean }, command: Command) => {
      const { client, print } = contextOf(command);
      const { raw, value } = await client.call(statusSchema, 'GET', '/v1/status');
      print(raw, () => (options.drops === true ? dropsText(value) : statusText(value)));
    });
}

function statusText(status: Status): string {
  const { vtep, underlay, counts } = status;
  const drops = Object.values(status.drops).reduce((sum, count) => sum + count, 0);
  const fields = formatFields([
    ['node', status.node],
    ['version', status.version],
    ['up', formatDuration(status.uptimeSeconds)],
    ['vtep', vtepText(vtep)],
    ['underlay', `${underlay.interface}, mtu ${underlay.mtuBytes} bytes`],
    ['registry', registryText(status)],
    ['networks', `${counts.networks}, ${counts.localNetworks} on this host`],
    ['endpoints', `${counts.localEndpoints} on this host${conflictsText(status)}`],
    ['nodes', String(counts.nodes)],
    ['workers', status.workers.map((w) => `#${w.id} ${w.state}`).join(', ') || 'none'],
    ['offloads', offloadsText(status)],
    ['gateways', gatewaysText(status)],
    ...(status.gateway?.problems ?? []).map((problem) => ['warning', problem] as const),
    ...(status.unreachable ?? []).map(({ reason }) => ['warning', printable(reason)] as const),
    ...(status.docker?.problems ?? []).map((problem) => ['warning', printable(problem)] as const),
    ['floods', floodsText(status)],
    ['port security', portSecurityText(status)],
    ['dns', dnsText(status)],
    ...dockerRows(status),
    ['drops', drops === 0 ? '0' : `${drops} (vtep status --drops)`],
  ]);
  const totals = counterRows(status.totals);
  return totals.length === 0 ? fields : `${fields}\n${formatTable(['COUNTER', 'VALUE'], totals)}`;
}

/** Both addresses of a host that has both families. */
function vtepText(vtep: Status['vtep']): string {
  return allIps(vtep)
    .map((ip) => endText(ip, vtep.port))
    .join(' ');
}

function gatewaysText({ gateway }: Status): string {
  const there = gateway?.networks.filter(({ addresses }) => addresses.length > 0) ?? [];
  return there.map(({ network, addresses }) => `${network} ${addresses.join(' ')}`).join(', ') || 'none';
}

/** `replicate: a, b; multicast: c (239.0.1.1)`, each with why it is so. */
function floodsText({ networks }: Status): string | undefined {
  const texts = (['replicate', 'multicast'] as const).flatMap((via) => {
    const named = networks.flatMap(({ network, flood }) => {
      if (flood?.via !== via) return [];
      const why = [via === 'multicast' ? flood.group : undefined, flood.reason].filter((text) => text !== undefined);
      return [why.length === 0 ? network : `${network} (${why.join(': ')})`];
    });
    return named.length === 0 ? [] : [`${via}: ${named.join(', ')}`];
  });
  return texts.length === 0 ? undefined : texts.join('; ');
}

function conflictsText({ counts }: Status): string {
  const { addressConflicts = 0 } = counts;
  return addressConflicts === 0 ? '' : `, ${addressConflicts} in conflict over an address (vtep endpoint ls)`;
}

function registryText({ registry }: Status): string {
  if (registry.connected) return `${registry.url}, connected`;
  const since = registry.staleSeconds === undefined ? 'never yet' : `${formatDuration(registry.staleSeconds)} ago`;
  const reason = registry.error === undefined ? '' : `: ${registry.error}`;
  return `${registry.url}, NOT connected, last answer ${since}${reason}`;
}

/** Those that are on, then what is not: `tap-tso, coalesce-tcp; off: tap-uso; unsupported: underlay-gro (...)`. */
function offloadsText({ offloads }: Status): string {
  const named = (state: Status['offloads'][number]['state']) =>
    offloads
      .filter((offload) => offload.state === state)
      .map(({ name, detail }) => (detail === undefined ? name : `${name} (${detail})`))
      .join(', ');
  const parts = [named('on') || 'none'];
  for (const state of ['off', 'unsupported'] as const) if (named(state) !== '') parts.push(`${state}: ${named(state)}`);
  return parts.join('; ');
}

/** How many networks have a names server that listens, then those that wait and why. */
function dnsText({ dns }: Status): string {
  if (dns === undefined) return 'off';
  const waiting = dns.flatMap(({ network, addresses }) =>
    addresses
      .filter(({ state }) => state === 'waiting')
      .map(({ address, error }) => `${network} waits for ${address}${error === undefined ? '' : ` (${error})`}`),
  );
  const served = dns.filter(({ addresses }) => addresses.some(({ state }) => state === 'listening')).length;
  return [`names of ${served} ${served === 1 ? 'network' : 'networks'} served`, ...waiting].join('; ');
}

function portSecurityText({ portSecurity: { ports, problem } = { ports: 0 } }: Status): string {
  const count = `${ports} ${ports === 1 ? 'port' : 'ports'}`;
  return problem === undefined ? count : `unsupported, ${count} NOT secured: ${problem}`;
}

function dockerRows({ docker }: Status): [string, string][] {
  if (docker === undefined) return [];
  const why = docker.error === undefined ? '' : ` (${printable(docker.error)})`;
  return [['docker', docker.connected ? 'answers' : `does not answer${why}`]];
}
