/**
 * Throughput by iperf3: TCP with some streams, UDP as fast as the sender can. A fresh server for each run.
 *
 * The figures are those of the receiving side, which the server tells the client at the end.
 */
import { existsSync, readFileSync } from 'node:fs';
import type { Path } from '../system.js';
import { isInNamespace, type Testbed, until } from '../topology.js';

const PORT = 5201;
const SMALL_BYTES = 64;
/** LISTEN (TCP) as /proc/net/tcp writes it. */
const STATE_LISTEN = '0A';

export interface Transfer {
  readonly seconds: number;
  readonly receivedBytes: number;
}

/** @param text of `iperf3 -J`, the client's. @throws Error with iperf3's own words if it failed */
export function parseIperf3(text: string): Transfer {
  let report: { error?: string; end?: { sum_received?: { bytes?: number; seconds?: number } } };
  try {
    report = JSON.parse(text);
  } catch {
    throw new Error(`iperf3 printed no JSON: ${text.slice(0, 200)}`);
  }
  if (report.error !== undefined) throw new Error(`iperf3: ${report.error}`);
  const { bytes, seconds } = report.end?.sum_received ?? {};
  if (bytes === undefined || seconds === undefined || seconds <= 0) throw new Error('iperf3 reported no received sum');
  return { seconds, receivedBytes: bytes };
}

export const gbitPerSecond = ({ receivedBytes, seconds }: Transfer): number => (receivedBytes * 8) / seconds / 1e9;

export const smallKpps = ({ receivedBytes, seconds }: Transfer): number => receivedBytes / SMALL_BYTES / seconds / 1000;

export function runTcp(testbed: Testbed, path: Path, streams: number, seconds: number): Promise<Transfer> {
  return runIperf3(testbed, path, seconds, ['-P', String(streams)]);
}

export function runSmallUdp(testbed: Testbed, path: Path, seconds: number): Promise<Transfer> {
  return runIperf3(testbed, path, seconds, ['-u', '-b', '0', '-l', String(SMALL_BYTES)]);
}

async function runIperf3(testbed: Testbed, path: Path, seconds: number, args: readonly string[]): Promise<Transfer> {
  const { client, server } = path;
  const inServer = ['netns', 'exec', server.netns, 'iperf3', '-s', '-1', '-p', String(PORT)];
  const child = testbed.spawn('iperf3', 'ip', inServer);
  try {
    await until(`iperf3 to listen in ${server.netns}`, () => isListening(child.pid, server.netns), {
      signal: testbed.signal,
    });
    const to = ['-c', server.address, '-p', String(PORT), '-t', String(seconds), '--connect-timeout', '3000', '-J'];
    const command = ['netns', 'exec', client.netns, 'iperf3', ...to, ...args];
    // iperf3 ends with 1 and says why on standard output, as JSON.
    const text = await testbed.run('ip', command, (seconds + 15) * 1000).catch((error: Error) => {
      const because = /"error":\s*"([^"]+)"/.exec(error.message)?.[1];
      throw because === undefined ? error : new Error(`iperf3: ${because}`);
    });
    return parseIperf3(text);
  } finally {
    await testbed.end(child);
  }
}

function isListening(pid: number | undefined, netns: string): boolean {
  if (pid === undefined || !isInNamespace(pid, netns)) return false;
  const local = `:${PORT.toString(16).toUpperCase().padStart(4, '0')}`;
  return ['tcp', 'tcp6'].some((table) => {
    const path = `/proc/${pid}/net/${table}`;
    if (!existsSync(path)) return false;
    const sockets = readFileSync(path, 'utf8').split('\n').slice(1);
    return sockets.some((line) => {
      const [, address, , state] = line.trim().split(/\s+/);
      return address?.endsWith(local) === true && state === STATE_LISTEN;
    });
  });
}
