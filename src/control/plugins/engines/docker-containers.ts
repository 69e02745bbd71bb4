/**
 * Docker by its API: what a container runs as, and the stream of events, by which a start is known at once. Control plane,
 * main thread. Podman's service speaks the same.
 */
import { stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { type DockerEvent, EngineApi, EngineApiError } from '../docker/engine-api.js';
import {
  type Container,
  type ContainerEngine,
  engineUnreachable,
  type StartListener,
  toContainer,
} from './container-engine.js';

const ANSWER_TIMEOUT_MS = 10_000;
const LISTEN_AGAIN_MS = 1000;
const STARTS = { type: ['container'], event: ['start'] };

export class DockerContainers implements ContainerEngine {
  readonly name = 'docker';
  readonly place: string;
  private readonly api: EngineApi;
  private readonly listenAgainMs: number;

  /** @param socket of its API */
  constructor(socket: string, listenAgainMs = LISTEN_AGAIN_MS) {
    this.place = socket;
    this.api = new EngineApi({ socketPath: socket, timeoutMs: ANSWER_TIMEOUT_MS });
    this.listenAgainMs = listenAgainMs;
  }

  async isPresent(): Promise<boolean> {
    return (await stat(this.place).catch(() => undefined))?.isSocket() === true;
  }

  async inspect(names: readonly string[]): Promise<Container[]> {
    try {
      const found = await Promise.all(names.map((name) => this.api.process(name)));
      return found.filter((one) => one !== undefined).map((one) => toContainer('docker', one));
    } catch (error) {
      if (!(error instanceof EngineApiError)) throw error;
      const why = error.status === undefined ? error.message : `HTTP ${error.status} ${error.message}`;
      throw engineUnreachable(this.name, this.place, why, error);
    }
  }

  watch(listener: StartListener): { close(): void } {
    const abort = new AbortController();
    void this.follow(listener, abort.signal);
    return { close: () => abort.abort() };
  }

  private async follow(listener: StartListener, signal: AbortSignal): Promise<void> {
    const onOpen = () => listener.onListening();
    const onEvent = ({ Action, Actor }: DockerEvent) => {
      const { name } = Actor.Attributes;
      if (Action === 'start' && name !== undefined && !signal.aborted) listener.onStart(name);
    };
    while (!signal.aborted) {
      // From a second ago: a daemon may answer before it listens itself.
      const sinceSeconds = Math.floor(Date.now() / 1000) - 1;
      await this.api.events(STARTS, { onOpen, onEvent }, signal, sinceSeconds).catch(() => undefined);
      if (signal.aborted) return;
      listener.onLost();
      await sleep(this.listenAgainMs, undefined, { signal, ref: false }).catch(() => undefined);
    }
  }
}
