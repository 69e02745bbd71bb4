/**
 * The CLI's way to vtepd: one HTTP request over the unix socket, the answer checked against the API's schema.
 *
 * Place: src/cli, apart from the daemon's process; it shares only the schemas and the error class with it.
 */
import { request } from 'node:http';
import type { z } from 'zod';
import { errorBodySchema } from '../control/api/schema.js';
import { ERROR_CODES, type ErrorCode, VtepError } from '../control/errors.js';

/** An attach waits for iproute2 and the registry; this is far above both. */
const ANSWER_MILLISECONDS_MAX = 60_000;
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;
const START_HINT = 'start it with: sudo vtepd --registry URL --underlay INTERFACE';

export type Method = 'GET' | 'POST' | 'DELETE';

/** `raw` is the answer as it came, for --json; `value` the same, checked. */
export interface Answer<T> {
  readonly raw: unknown;
  readonly value: T;
}

export class ApiClient {
  constructor(readonly socketPath: string) {}

  /** @throws VtepError what vtepd answered, or VTEP_ERR_DAEMON_UNREACHABLE, or VTEP_ERR_INTERNAL for nonsense. */
  async call<T extends z.ZodType>(
    schema: T,
    method: Method,
    path: string,
    body?: unknown,
  ): Promise<Answer<z.output<T>>> {
    const raw = await this.#exchange(method, path, body);
    const result = schema.safeParse(raw);
    if (result.success) return { raw, value: result.data };
    const where = result.error.issues[0]?.path.join('.') ?? '';
    const hint = 'vtep and vtepd may be of different versions';
    throw new VtepError('VTEP_ERR_INTERNAL', `${method} ${path}: the answer makes no sense at "${where}"; ${hint}`);
  }

  /** For routes that answer 204. */
  async send(method: Method, path: string, body?: unknown): Promise<void> {
    await this.#exchange(method, path, body);
  }

  async #exchange(method: Method, path: string, body: unknown): Promise<unknown> {
    const { status, text } = await this.#request(method, path, body === undefined ? undefined : JSON.stringify(body));
    let answer: unknown;
    try {
      answer = text === '' ? undefined : JSON.parse(text);
    } catch (cause) {
      const message = `${method} ${path}: the answer (HTTP ${status}) is not JSON; is ${this.socketPath} vtepd's socket?`;
      throw new VtepError('VTEP_ERR_INTERNAL', message, { cause });
    }
    if (status >= 200 && status < 300) return answer;
    const failure = errorBodySchema.safeParse(answer);
    if (!failure.success) throw new VtepError('VTEP_ERR_INTERNAL', `${method} ${path}: vtepd answered HTTP ${status}`);
    const { code, message } = failure.data.error;
    throw new VtepError(isErrorCode(code) ? code : 'VTEP_ERR_INTERNAL', message);
  }

  #request(method: Method, path: string, body: string | undefined): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const headers =
        body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
      const options = { socketPath: this.socketPath, method, path, headers, agent: false as const };
      const outgoing = request(options, (incoming) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        incoming.on('data', (chunk: Buffer) => {
          chunks.push(chunk);
          bytes += chunk.length;
          if (bytes > ANSWER_BYTES_MAX) outgoing.destroy(new Error(`answer above ${ANSWER_BYTES_MAX} bytes`));
        });
        incoming.on('end', () =>
          resolve({ status: incoming.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
        );
        incoming.on('error', (error) => reject(this.#unreachable(error)));
      });
      outgoing.setTimeout(ANSWER_MILLISECONDS_MAX, () => {
        outgoing.destroy(new Error(`no answer within ${ANSWER_MILLISECONDS_MAX / 1000} s`));
      });
      outgoing.on('error', (error) => reject(this.#unreachable(error)));
      outgoing.end(body);
    });
  }

  #unreachable(cause: NodeJS.ErrnoException): VtepError {
    const reasons: Record<string, string> = {
      ENOENT: `there is no such socket; ${START_HINT}`,
      ECONNREFUSED: `nobody listens there; ${START_HINT}`,
      ENOTSOCK: 'it is not a socket; give the right one with --socket',
      ENOTDIR: `there is no such socket; ${START_HINT}`,
      EACCES: 'permission denied; run vtep as root (sudo vtep ...)',
      EPERM: 'permission denied; run vtep as root (sudo vtep ...)',
      ECONNRESET: 'the connection was cut; its log may say why',
    };
    const reason = reasons[cause.code ?? ''] ?? cause.message;
    const message = `vtepd is not reachable on ${this.socketPath}: ${reason}`;
    return new VtepError('VTEP_ERR_DAEMON_UNREACHABLE', message, { cause });
  }
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERROR_CODES, code);
}
