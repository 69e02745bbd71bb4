/**
 * A real Consul server for tests: in memory, on loopback, on ports of its own; ended by its process id.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import type { TlsFiles } from '../../../src/control/registry/tls-files.js';
import { type RawHttp, rawHttp } from './raw-http.js';

export interface ConsulServer {
  readonly url: string;
  close(): Promise<void>;
}

export interface ConsulServerSettings {
  readonly hcl?: readonly string[];
  /** How to ask it, where it asks for more than nothing; with TLS it serves https alone. */
  readonly raw?: { readonly token?: string; readonly tls?: TlsFiles };
}

const SCRIPT = fileURLToPath(new URL('../../../scripts/consul.sh', import.meta.url));
const START_MS_MAX = 30_000;

/** @throws when no binary can be had, or when it leads nothing within 30 s; the message holds its last words. */
export async function startConsul(options: ConsulServerSettings = {}): Promise<ConsulServer> {
  const { stdout: binary } = await execa(SCRIPT);
  const dataDirectory = await mkdtemp(join(tmpdir(), 'vtep-consul-'));
  const [http, server, serfLan, serfWan] = await freePorts(4);
  const secure = options.raw?.tls !== undefined;
  const child = spawn(
    binary,
    [
      'agent',
      '-dev',
      ...['-node', 'test', '-bind', '127.0.0.1', '-client', '127.0.0.1', '-data-dir', dataDirectory],
      ...(secure ? ['-http-port', '-1', '-https-port', `${http}`] : ['-http-port', `${http}`]),
      ...['-server-port', `${server}`, '-serf-lan-port', `${serfLan}`],
      ...['-serf-wan-port', `${serfWan}`, '-dns-port', '-1', '-grpc-port', '-1'],
      // Neither looks for updates nor sends anything anywhere.
      ...['-hcl', 'disable_update_check = true', '-hcl', 'telemetry { disable_hostname = true }'],
      ...(options.hcl ?? []).flatMap((text) => ['-hcl', text]),
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let words = '';
  const keep = (chunk: Buffer) => {
    words = (words + chunk.toString()).slice(-2000);
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  const endWithUs = () => child.kill('SIGKILL');
  process.once('exit', endWithUs);
  const close = async () => {
    process.off('exit', endWithUs);
    await end(child);
    await rm(dataDirectory, { recursive: true, force: true });
  };
  const url = `${secure ? 'https' : 'http'}://127.0.0.1:${http}`;
  try {
    await waitForLeader(rawHttp(url, options.raw), child);
  } catch (error) {
    await close();
    throw new Error(`consul did not start: ${(error as Error).message}; its last words:\n${words}`);
  }
  return { url, close };
}

/** Ports that were free a moment ago; all are held at once, so that they differ. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject).listen(0, '127.0.0.1', resolve);
      });
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/**
 * A leader is known before it serves writes, and serves writes before it knows itself as a node that can hold sessions: only
 * both done show that all is up.
 */
async function waitForLeader(http: RawHttp, child: ChildProcess): Promise<void> {
  const endMs = performance.now() + START_MS_MAX;
  while (performance.now() < endMs) {
    if (child.exitCode !== null) throw new Error(`it ended with status ${child.exitCode}`);
    try {
      if ((await http('PUT', 'kv/started', 'yes')).json === true) {
        const { ID } = (await http('PUT', 'session/create', '{}')).json as { ID: string };
        await http('PUT', `session/destroy/${ID}`);
        return;
      }
    } catch {
      // Not listening yet, or no node yet.
    }
    await sleep(100);
  }
  throw new Error(`it took no write within ${START_MS_MAX / 1000} s`);
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}
