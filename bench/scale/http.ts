/** JSON over HTTP on a unix socket, connections kept: Consul's API without a way into its namespace, and vtepd's API. */
import { Agent, request } from 'node:http';

const ANSWER_MS_MAX = 60_000;

export interface Answer {
  readonly status: number;
  readonly text: string;
}

export class UnixHttp {
  readonly #socketPath: string;
  readonly #agent: Agent;

  constructor(socketPath: string, connectionsMax: number) {
    this.#socketPath = socketPath;
    this.#agent = new Agent({ keepAlive: true, maxSockets: connectionsMax });
  }

  call(method: string, path: string, body?: unknown): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const options = { socketPath: this.#socketPath, agent: this.#agent, method, path, timeout: ANSWER_MS_MAX };
      const headers = body === undefined ? {} : { 'content-type': 'application/json' };
      const sent = request({ ...options, headers }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
        );
      });
      sent.on('timeout', () => sent.destroy(new Error(`no answer to ${method} ${path} in ${ANSWER_MS_MAX / 1000} s`)));
      sent.on('error', reject);
      sent.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  /** @throws Error with the answer's text unless it is a success. */
  async json<T>(method: string, path: string, body?: unknown): Promise<T> {
    const { status, text } = await this.call(method, path, body);
    if (status < 200 || status > 299) throw new Error(`${method} ${path}: HTTP ${status} ${text.slice(0, 300)}`);
    return (text === '' ? undefined : JSON.parse(text)) as T;
  }

  close(): void {
    this.#agent.destroy();
  }
}
