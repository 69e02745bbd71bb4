/**
 * The host's ports that belong to containers: who has which, what stands in the way of a new one, and the bindings that
 * the ruleset gets. Pure, but for the question who listens on the host (`ss`).
 */
import { execa } from 'execa';
import { type PublishedPort, publishText } from '../api/publish-schema.js';
import { VtepError } from '../errors.js';
import type { PortBinding } from './ruleset.js';

/** An endpoint's published ports. */
export interface Publication {
  readonly endpointId: string;
  readonly name: string;
  readonly network: string;
  /** The endpoint's, without prefix length. */
  readonly addresses: readonly string[];
  readonly ports: readonly PublishedPort[];
}

/** @throws VtepError VTEP_ERR_HOST_PORT_IN_USE naming who has the port, VTEP_ERR_INVALID */
export function checkPublication(wanted: Publication, others: Iterable<Publication>): void {
  const taken = [...others].flatMap(({ name, ports }) => ports.map((port) => ({ name, port })));
  for (const port of wanted.ports) {
    const rival = taken.find((other) => areOverlapping(port, other.port));
    if (rival !== undefined) {
      const whose = rival.name === wanted.name ? 'twice' : `by endpoint "${rival.name}" (${publishText(rival.port)})`;
      throw inUse(port, `is published ${whose}`);
    }
    taken.push({ name: wanted.name, port });
    if (bindingsOf({ ...wanted, ports: [port] }).length > 0) continue;
    throw new VtepError(
      'VTEP_ERR_INVALID',
      `--publish ${publishText(port)}: the endpoint has no address of the family of ${port.hostAddress}: it has ${wanted.addresses.join(', ')}`,
    );
  }
}

/** One for each port and address that fits: the host's address, if one is given, says the family. */
export function bindingsOf({ addresses, ports }: Publication): PortBinding[] {
  const isIpv6 = (address: string) => address.includes(':');
  return ports.flatMap((port) =>
    ['v4', 'v6'].flatMap((family) => {
      const containerAddress = addresses.find((address) => isIpv6(address) === (family === 'v6'));
      if (containerAddress === undefined) return [];
      if (port.hostAddress !== undefined && isIpv6(port.hostAddress) !== (family === 'v6')) return [];
      return [{ ...port, containerAddress }];
    }),
  );
}

/** @throws VtepError VTEP_ERR_HOST_PORT_IN_USE if a program on the host has one of the ports. */
export async function checkListeners(prefix: readonly string[], ports: readonly PublishedPort[]): Promise<void> {
  for (const port of ports) {
    const flags = ['-H', '-n', '-l', port.protocol === 'tcp' ? '-t' : '-u'];
    const [file, ...args] = [...prefix, 'ss', ...flags, `sport = :${port.hostPort}`];
    const { exitCode, stdout } = await execa(file!, args, { reject: false, stdin: 'ignore', env: { LC_ALL: 'C' } });
    if (exitCode !== 0) continue;
    const listener = listenerAddresses(stdout).find((address) => areSame(address, port.hostAddress));
    if (listener !== undefined) throw inUse(port, `has a program of this host listening on ${listener}`);
  }
}

/** Of the lines of `ss -H -n -l`: state, queues, local address:port, peer. `*` is every address. */
export function listenerAddresses(text: string): string[] {
  return text.split('\n').flatMap((line) => {
    const local = line.trim().split(/\s+/)[3];
    if (local === undefined) return [];
    return [
      local
        .slice(0, local.lastIndexOf(':'))
        .replace(/%.*$/, '')
        .replace(/^\[|\]$/g, ''),
    ];
  });
}

function areOverlapping(a: PublishedPort, b: PublishedPort): boolean {
  if (a.protocol !== b.protocol || a.hostPort !== b.hostPort) return false;
  return a.hostAddress === undefined || b.hostAddress === undefined || a.hostAddress === b.hostAddress;
}

function areSame(listener: string, hostAddress: string | undefined): boolean {
  if (hostAddress === undefined || listener === '*' || listener === hostAddress) return true;
  return listener === (hostAddress.includes(':') ? '::' : '0.0.0.0');
}

function inUse(port: PublishedPort, why: string): VtepError {
  const text = `port ${port.hostPort}/${port.protocol} of the host ${why}: publish another, or free it`;
  return new VtepError('VTEP_ERR_HOST_PORT_IN_USE', text);
}
