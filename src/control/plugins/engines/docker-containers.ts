/**
 * Docker by its API on a unix socket: what a container runs as, and the stream of events, by which a start is known at
 * once. Control plane, main thread. Paths without a version mean the daemon's own, so that every release answers.
 * Podman's service speaks the same.
 */
import { stat } from 'node:fs/promises';
import { type ClientRequest, request } from 'node:http';
import {
  type Container,
  type ContainerEngine,
  engineUnreachable,
  type Inspected,
  type StartListener,
  toContainer,
} from './container-engine.js';

const ANSWER_TIMEOUT_MS = 10_000;
const LISTEN_AGAIN_MS = 1000;

export class DockerContainers implements ContainerEngine {
  readonly name = 'docker';
  readonly place: string;
  private readonly listenAgainMs: number;

  /** @param socket of its API */
  constructor(socket: string, listenAgainMs = LISTEN_AGAIN_MS) {
    this.place = socket;
    this.listenAgainMs = listenAgainMs;
  }

  async isPresent(): Promise<boolean> {
    return (await stat(this.place).catch(() => undefined))?.isSocket() === true;
  }

  async inspect(names: readonly string[]): Promise<Container[]> {
    const found = await Promise.all(names.map((name) => this.get(`/containers/${encodeURIComponent(name)}/json`)));
    return found.filter((one) => one !== undefined).map((one) => toContainer('docker', one as Inspected));
  }

  watch(listener: StartListener): { close(): void } {
    let closed = false;
    let timer: NodeJS.Timeout | undefined;
    let asked: ClientRequest | undefined;
    const again = () => {
      if (closed || timer !== undefined) return;
      listener.onLost();
      timer = setTimeout(listen, this.listenAgainMs).unref();
    };
    const listen = () => {
      timer = undefined;
      // From a second ago: a daemon may answer before it listens itself.
      const since = Math.floor(Date.now() / 1000) - 1;
      const filters = encodeURIComponent('{"type":["container"],"event":["start"]}');
      const asking = this.request(`/events?since=${since}&filters=${filters}`);
      asked = asking;
      asking.on('error', again).once('response', (response) => {
        response.on('error', again).once('close', again);
        if (response.statusCode !== 200) {
          response.destroy();
          return;
        }
        response.socket.unref();
        if (closed) return;
        listener.onListening();
        let rest = '';
        response.setEncoding('utf8').on('data', (text: string) => {
          const lines = (rest + text).split('\n');
          rest = lines.pop() ?? '';
          for (const name of lines.map(startedName)) if (name !== undefined && !closed) listener.onStart(name);
        });
      });
      asking.end();
    };
    listen();
    return {
      close: () => {
        closed = true;
        clearTimeout(timer);
        asked?.destroy();
      },
    };
  }

  /** By a connection of its own: one that is kept is a failure to come when Docker is started again. */
  private request(path: string, timeout?: number): ClientRequest {
    return request({ socketPath: this.place, path, agent: false, ...(timeout === undefined ? {} : { timeout }) });
  }

  /** @returns undefined for 404. */
  private get(path: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const fail = (why: string, cause?: unknown) => reject(engineUnreachable(this.name, this.place, why, cause));
      const asking = this.request(path, ANSWER_TIMEOUT_MS);
      asking
        .on('error', (error) => fail(error.message, error))
        .once('timeout', () => {
          fail(`no answer in ${ANSWER_TIMEOUT_MS / 1000} s`);
          asking.destroy();
        })
        .once('response', async (response) => {
          try {
            const chunks: Buffer[] = [];
            for await (const chunk of response) chunks.push(chunk as Buffer);
            const text = Buffer.concat(chunks).toString();
            if (response.statusCode === 404) resolve(undefined);
            else if (response.statusCode === 200) resolve(JSON.parse(text));
            else fail(`HTTP ${response.statusCode} ${messageOf(text)}`.trim());
          } catch (error) {
            fail((error as Error).message, error);
          }
        })
        .end();
    });
  }
}

/** The container's name in a line of the event stream. */
function startedName(line: string): string | undefined {
  try {
    const event = JSON.parse(line) as { Action?: string; status?: string; Actor?: { Attributes?: { name?: string } } };
    const name = event.Actor?.Attributes?.name;
    return (event.Action ?? event.status) === 'start' && typeof name === 'string' ? name : undefined;
  } catch {
    return undefined;
  }
}

function messageOf(text: string): string {
  try {
    return (JSON.parse(text) as { message?: string }).message ?? '';
  } catch {
    return '';
  }
}
