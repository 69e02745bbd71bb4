/**
 * The HTTP server on the unix socket: who may connect, how big a request may be, and what an error looks like.
 *
 * Place: control plane, main thread. Access is by file mode alone (0600, the owner of vtepd), so the socket must have
 * that mode at the instant it appears: it is bound under a umask, not changed afterwards.
 */
import { once } from 'node:events';
import type { Server } from 'node:http';
import { dirname } from 'node:path';
import Fastify, { type FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { makeDirectory } from '../directory.js';
import { VtepError } from '../errors.js';
import { addCniRoute } from '../plugins/cni/cni-route.js';
import { addRoutes } from './routes.js';
import type { HostOperations } from './schema.js';

/** The largest request, an attach with every field at its longest, is under 5 KB. */
const BODY_BYTES_MAX = 64 * 1024;
/** How long requests under way may go on after close() before their connections are cut. */
const DRAIN_MILLISECONDS = 3000;

export interface ApiOptions {
  readonly host: HostOperations;
  readonly socketPath: string;
  readonly logger: Logger;
}

export interface Api {
  /** Stops listening, lets requests under way end, removes the socket file. */
  close(): Promise<void>;
}

/** The routes and the error handling without a socket; tests inject requests into it. */
export function buildApi(host: HostOperations, logger: Logger): FastifyInstance {
  const app = Fastify({ logger: false, bodyLimit: BODY_BYTES_MAX, routerOptions: { ignoreTrailingSlash: true } });

  // Fastify reads text/plain as a string, which would end in a puzzling message about the body's shape.
  app.removeContentTypeParser('text/plain');
  app.setErrorHandler((error, request, reply) => {
    const answer = toAnswer(error);
    if (answer.status >= 500 && answer.code === 'VTEP_ERR_INTERNAL') {
      logger.error({ event: 'api.failed', method: request.method, url: request.url, err: error }, answer.message);
    } else {
      logger.debug(
        { event: 'api.refused', method: request.method, url: request.url, code: answer.code },
        answer.message,
      );
    }
    const { code, message, retryable } = answer;
    reply.code(answer.status).type('application/json').send({ error: { code, message, retryable } });
  });
  app.setNotFoundHandler((request) => {
    throw new VtepError('VTEP_ERR_NOT_FOUND', `no route ${request.method} ${request.url.split('?')[0]}`);
  });
  app.addHook('onResponse', async (request, reply) => {
    const milliseconds = Math.round(reply.elapsedTime);
    const { method, url } = request;
    logger.debug({ event: 'api.request', method, url, status: reply.statusCode, milliseconds }, 'request');
  });

  addRoutes(app, host);
  addCniRoute(app, host, logger);
  return app;
}

/**
 * Serves the API on `socketPath`; the file must not exist (startup-checks.ts removes a stale one).
 *
 * @throws VtepError VTEP_ERR_SOCKET_IN_USE if the path is taken, VTEP_ERR_KERNEL if it can't be bound.
 */
export async function startApi(options: ApiOptions): Promise<Api> {
  const { socketPath, logger } = options;
  const app = buildApi(options.host, logger);
  await app.ready();
  try {
    await makeDirectory(dirname(socketPath), 0o755);
    await listenPrivately(app.server, socketPath);
  } catch (cause) {
    await app.close();
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE') {
      throw new VtepError('VTEP_ERR_SOCKET_IN_USE', `socket ${socketPath} exists: give another --socket`, { cause });
    }
    throw new VtepError('VTEP_ERR_KERNEL', `socket ${socketPath} can't be opened: ${message}`, { cause });
  }
  logger.debug({ event: 'api.listening', socket: socketPath }, 'API is listening');

  return {
    async close() {
      const cut = setTimeout(() => app.server.closeAllConnections(), DRAIN_MILLISECONDS);
      await new Promise<void>((resolve) => app.server.close(() => resolve()));
      clearTimeout(cut);
      await app.close();
    },
  };
}

/** Mode 0600 from the instant that the socket is there. */
export async function listenPrivately(server: Server, socketPath: string): Promise<void> {
  const listening = once(server, 'listening');
  const previous = process.umask(0o177);
  try {
    // Binds before it returns (only the event comes later), so the umask need not outlive this turn.
    server.listen(socketPath);
  } finally {
    process.umask(previous);
  }
  await listening;
}

interface ErrorAnswer {
  readonly status: number;
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
}

function toAnswer(error: unknown): ErrorAnswer {
  if (error instanceof VtepError) {
    return { status: error.httpStatus, code: error.code, message: error.message, retryable: error.retryable };
  }
  const { statusCode, code, message } = error as { statusCode?: number; code?: string; message?: string };
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    return { status: statusCode, code: 'VTEP_ERR_INVALID', message: requestMessage(code, message), retryable: false };
  }
  const text = `vtepd failed: ${oneLine(message ?? String(error))}; its log has more`;
  return { status: 500, code: 'VTEP_ERR_INTERNAL', message: text, retryable: false };
}

function requestMessage(code: string | undefined, message: string | undefined): string {
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return `the request body must be at most ${BODY_BYTES_MAX} bytes`;
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return 'the request body must be JSON, with the header "content-type: application/json"';
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
      return 'the request body is empty: must be a JSON object';
    default:
      return `the request can't be read: ${oneLine(message ?? 'malformed')}`;
  }
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}
