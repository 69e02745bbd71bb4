/**
 * Answers that come compressed: Consul compresses each one that it is asked to (Accept-Encoding: gzip), and a listing of
 * the registry shrinks to a sixth. Control plane; used by consul-library.ts, whose HTTP layer knows nothing of it.
 *
 * The answer that the layer sees is the plain one: a stream with the original's status, headers and completeness. An
 * answer that is cut off, or is not what it says, ends in an error of the request.
 */
import type { ClientRequest, IncomingMessage, RequestOptions } from 'node:http';
import { pipeline } from 'node:stream';
import { createGunzip, type Gunzip } from 'node:zlib';

export interface Transport {
  request(options: RequestOptions): ClientRequest;
}

export function acceptCompressed(transport: Transport): Transport {
  return {
    request(options) {
      const headers = { ...options.headers, 'accept-encoding': 'gzip' } as RequestOptions['headers'];
      const outgoing = transport.request({ ...options, headers });
      const emit = outgoing.emit.bind(outgoing) as (event: string | symbol, ...args: unknown[]) => boolean;
      outgoing.emit = (event: string | symbol, ...args: unknown[]) => {
        const answer = args[0] as IncomingMessage;
        if (event !== 'response' || answer.headers['content-encoding'] !== 'gzip') return emit(event, ...args);
        return emit(
          event,
          unpack(answer, (error) => outgoing.emit('error', error)),
        );
      };
      return outgoing;
    },
  };
}

function unpack(answer: IncomingMessage, onError: (error: Error) => void): IncomingMessage {
  const plain: Gunzip = createGunzip();
  const { statusCode, statusMessage, headers, rawHeaders, socket, httpVersion } = answer;
  Object.assign(plain, { statusCode, statusMessage, headers, rawHeaders, socket, httpVersion });
  Object.defineProperty(plain, 'complete', { get: () => answer.complete });
  // The pipeline tells it; without a listener of its own the stream would end the process.
  plain.on('error', () => {});
  pipeline(answer, plain, (error) => {
    // One that is cut off is told by whoever follows the request: its stream closes before it is complete.
    if (error != null && answer.complete) onError(error);
  });
  return plain as unknown as IncomingMessage;
}
