/** The text of `vtep status --drops`: by cause; then, where there are any, by network, by port and by VTEP. */
import type { Status } from '../control/api/schema.js';
import { formatTable } from './table.js';

const DROP_PREFIX = 'drop_';
const VTEP_DROPS = ['rx_drops', 'tx_errors'];

export function dropsText(status: Status): string {
  const causes = counterRows(status.drops);
  const networks = status.networks.flatMap(({ network, counters }) =>
    counterRows(counters)
      .filter(([name]) => name?.startsWith(DROP_PREFIX))
      .map(([name = '', count = '']) => [network, name.slice(DROP_PREFIX.length), count]),
  );
  const ports = (status.ports ?? []).flatMap(({ network, name, interface: port, drops }) =>
    counterRows(drops).map((row) => [network, name, port, ...row]),
  );
  const vteps = status.vteps.flatMap(({ address, counters }) =>
    counterRows(counters)
      .filter(([name]) => VTEP_DROPS.includes(name ?? ''))
      .map((row) => [address, ...row]),
  );
  const tables = [
    { heads: ['CAUSE', 'FRAMES'], rows: causes },
    { heads: ['NETWORK', 'CAUSE', 'FRAMES'], rows: networks },
    { heads: ['NETWORK', 'ENDPOINT', 'PORT', 'CAUSE', 'FRAMES'], rows: ports },
    { heads: ['VTEP', 'COUNTER', 'DATAGRAMS'], rows: vteps },
  ].filter(({ rows }) => rows.length > 0);
  return tables.length === 0
    ? 'no frame was dropped\n'
    : tables.map(({ heads, rows }) => formatTable(heads, rows)).join('\n');
}

/** Those above zero, the largest first. */
export function counterRows(counters: Readonly<Record<string, number>>): string[][] {
  return Object.entries(counters)
    .filter(([, count]) => count > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([name, count]) => [name, String(count)]);
}
