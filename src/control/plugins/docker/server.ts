/**
 * The unix socket that dockerd finds the network and the address driver at. Control plane, main thread.
 *
 * Docker posts JSON, often without a content type, sometimes without a body. An error is an answer like another, with the
 * sentence in `Err` (networks) or `Error` (addresses): that is what Docker shows to whoever asked for it.
 */
import { chmod } from 'node:fs/promises';
import { dirname } from 'node:path';
import Fastify, { type FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import type { z } from 'zod';
import { checkInput } from '../../api/check-input.js';
import { listenPrivately } from '../../api/server.js';
import { makeDirectory } from '../../directory.js';
import { VtepError } from '../../errors.js';
import { freeSocketPath } from '../../startup-checks.js';
import type { PluginHost } from '../plugin-host.js';
import { Bindings } from './bindings.js';
import { type DockerHooks, NO_HOOKS } from './hooks.js';
import { ADDRESS_SPACES, IpamDriver } from './ipam-driver.js';
import { NetworkDriver } from './network-driver.js';
import { type DockerScope, NetworkMaker } from './network-maker.js';
import { PendingNames } from './pending-names.js';
import * as requests from './requests.js';

const MEDIA_TYPE = 'application/vnd.docker.plugins.v1.2+json';
/** A container with 64 thousand published ports asks for 6 MB. */
const BODY_BYTES_MAX = 16 * 1024 * 1024;
const DRAIN_MS = 3000;

export interface DockerPluginOptions {
  readonly host: PluginHost;
  readonly socketPath: string;
  readonly scope: DockerScope;
  readonly logger: Logger;
  /** Who asks Docker's API for names. @default nobody */
  readonly hooks?: DockerHooks | undefined;
}

type Calls = Readonly<Record<string, (body: unknown) => Promise<object>>>;

/** @throws VtepError VTEP_ERR_SOCKET_IN_USE, VTEP_ERR_INVALID (the path is no socket's), VTEP_ERR_KERNEL */
export async function startDockerPlugin(options: DockerPluginOptions): Promise<{ close(): Promise<void> }> {
  const { socketPath, logger } = options;
  await freeSocketPath(socketPath, '--docker-plugin');
  const app = buildDockerPlugin(options);
  await app.ready();
  try {
    await makeDirectory(dirname(socketPath), 0o755);
    await listenPrivately(app.server, socketPath);
    await chmod(socketPath, 0o600);
  } catch (cause) {
    await app.close();
    const { message } = cause as Error;
    throw new VtepError('VTEP_ERR_KERNEL', `socket ${socketPath} can't be opened: ${message}`, { cause });
  }
  logger.info({ event: 'docker.listening', socket: socketPath, scope: options.scope }, 'the Docker plugin is there');
  return {
    async close() {
      const cut = setTimeout(() => app.server.closeAllConnections(), DRAIN_MS);
      await app.close();
      clearTimeout(cut);
    },
  };
}

/** The calls without a socket; tests inject requests into it. */
export function buildDockerPlugin(options: DockerPluginOptions): FastifyInstance {
  const { logger } = options;
  const calls = callsOf(options);
  const app = Fastify({ logger: false, bodyLimit: BODY_BYTES_MAX, forceCloseConnections: 'idle' });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body));
  app.post('/*', async (request, reply) => {
    const method = request.url.slice(1);
    const call = calls[method];
    // Bytes: to text Fastify would add a charset.
    reply.header('content-type', MEDIA_TYPE);
    // Docker takes this for a call that the plugin does not have.
    if (call === undefined) return reply.code(404).send(JSON.stringify({ Err: `vtep has no call ${method}` }));
    const startedMs = performance.now();
    try {
      const answer = await call(parseBody(request.body));
      logger.debug({ event: 'docker.call', method, milliseconds: Math.round(performance.now() - startedMs) }, method);
      return reply.send(Buffer.from(JSON.stringify(answer)));
    } catch (error) {
      return reply.send(Buffer.from(JSON.stringify(errorAnswer(method, error, logger))));
    }
  });
  return app;
}

function callsOf({ host, scope, hooks = NO_HOOKS }: DockerPluginOptions): Calls {
  const bindings = new Bindings(host);
  const names = new PendingNames(bindings, hooks);
  const maker = new NetworkMaker(host, bindings, hooks, scope);
  const networks = new NetworkDriver(host, bindings, hooks, names);
  const ipam = new IpamDriver(host, bindings, names);
  const network = inTurn();
  const calls: Record<string, (body: unknown) => Promise<object>> = {};
  const add = <T extends z.ZodType>(name: string, schema: T, run: (call: z.output<T>) => Promise<unknown>) => {
    calls[name] = async (body) => ((await run(checkInput(schema, body))) ?? {}) as object;
  };
  add('Plugin.Activate', requests.nothing, async () => ({ Implements: ['NetworkDriver', 'IpamDriver'] }));
  const local = { Scope: scope, ConnectivityScope: 'global' };
  add('NetworkDriver.GetCapabilities', requests.nothing, async () => local);
  add('NetworkDriver.CreateNetwork', requests.createNetwork, (call) => network(() => maker.make(call)));
  add('NetworkDriver.AllocateNetwork', requests.nothing, async () => ({ Options: {} }));
  add('NetworkDriver.FreeNetwork', requests.nothing, async () => ({}));
  add('NetworkDriver.DeleteNetwork', requests.networkOnly, (call) =>
    network(() => networks.deleteNetwork(call.NetworkID)),
  );
  add('NetworkDriver.CreateEndpoint', requests.createEndpoint, (call) => networks.createEndpoint(call));
  add('NetworkDriver.EndpointOperInfo', requests.nothing, async () => ({ Value: {} }));
  add('NetworkDriver.DeleteEndpoint', requests.endpointOnly, (call) => networks.deleteEndpoint(call.EndpointID));
  add('NetworkDriver.Join', requests.join, (call) => networks.join(call.EndpointID, call.SandboxKey));
  add('NetworkDriver.Leave', requests.endpointOnly, (call) => networks.leave(call.EndpointID));
  add('NetworkDriver.DiscoverNew', requests.nothing, async () => ({}));
  add('NetworkDriver.DiscoverDelete', requests.nothing, async () => ({}));
  add('NetworkDriver.ProgramExternalConnectivity', requests.external, (call) =>
    networks.programExternal(call.EndpointID, call.Options),
  );
  add('NetworkDriver.RevokeExternalConnectivity', requests.endpointOnly, (call) =>
    networks.revokeExternal(call.EndpointID),
  );
  const spaces = { LocalDefaultAddressSpace: ADDRESS_SPACES.local, GlobalDefaultAddressSpace: ADDRESS_SPACES.global };
  add('IpamDriver.GetCapabilities', requests.nothing, async () => ({ RequiresMACAddress: false }));
  add('IpamDriver.GetDefaultAddressSpaces', requests.nothing, async () => spaces);
  add('IpamDriver.RequestPool', requests.requestPool, (call) => network(() => ipam.requestPool(call)));
  add('IpamDriver.ReleasePool', requests.poolOnly, (call) => ipam.releasePool(call.PoolID));
  add('IpamDriver.RequestAddress', requests.requestAddress, (call) => ipam.requestAddress(call));
  add('IpamDriver.ReleaseAddress', requests.releaseAddress, (call) => ipam.releaseAddress(call.PoolID, call.Address));
  return calls;
}

/** Calls that make and remove networks follow one another. */
function inTurn(): <T>(run: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  return (run) => {
    const next = last.then(run, run);
    last = next.catch(() => undefined);
    return next;
  };
}

function parseBody(body: unknown): unknown {
  const text = typeof body === 'string' ? body.trim() : '';
  if (text === '') return {};
  try {
    return JSON.parse(text) ?? {};
  } catch (cause) {
    throw new VtepError('VTEP_ERR_INVALID', `the request is no JSON: ${(cause as Error).message}`, { cause });
  }
}

function errorAnswer(method: string, error: unknown, logger: Logger): object {
  const known = error instanceof VtepError;
  const message = known
    ? error.message
    : `vtepd failed: ${String((error as Error)?.message ?? error)}; its log has more`;
  const facts = { event: 'docker.refused', method, ...(known ? { code: error.code } : { err: error }) };
  if (known) logger.warn(facts, message);
  else logger.error(facts, message);
  const field = method.startsWith('IpamDriver.') ? 'Error' : 'Err';
  return { [field]: message.replace(/\s+/g, ' ') };
}
