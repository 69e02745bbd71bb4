/**
 * A client of Docker's HTTP API on its unix socket: the few requests that names, mirroring and the look-up of containers need. Control plane.
 *
 * Never to be asked from inside a callback of Docker's: it waits for the callback's answer. Paths carry no version, so each
 * dockerd answers in its own; the fields read here are the same in all of them since 1.24. An answer is checked before it
 * is believed, and one that does not come in time is an error.
 */
import { type IncomingMessage, request } from 'node:http';
import { z } from 'zod';

const TIMEOUT_MS = 20_000;
/** A dockerd with thousands of networks stays far below. */
const ANSWER_BYTES_MAX = 32 << 20;

/** Docker writes an empty map or list as null at times. */
const strings = z
  .record(z.string(), z.string())
  .nullish()
  .transform((map) => map ?? {});
const names = z
  .array(z.string())
  .nullish()
  .transform((list) => list ?? []);

const networkSchema = z.object({
  Id: z.string().min(1),
  Name: z.string(),
  Driver: z.string(),
  Options: strings,
  Labels: strings,
});
const networkDetailSchema = networkSchema.extend({
  /** By container; `ep-<endpoint>` for those that this dockerd has no container of. */
  Containers: z
    .record(z.string(), z.object({ Name: z.string(), EndpointID: z.string() }))
    .nullish()
    .transform((map) => map ?? {}),
});
const containerSchema = z.object({
  NetworkSettings: z.object({
    Networks: z
      .record(z.string(), z.object({ NetworkID: z.string(), Aliases: names }))
      .nullish()
      .transform((map) => map ?? {}),
  }),
});
const processSchema = z.object({
  Id: z.string().min(1),
  Name: z.string(),
  State: z
    .object({ Running: z.boolean().optional(), Status: z.string().optional(), Pid: z.number().optional() })
    .optional(),
});
const eventSchema = z.object({
  Type: z.string(),
  Action: z.string(),
  Actor: z.object({ ID: z.string(), Attributes: strings }),
});

export type DockerNetwork = z.infer<typeof networkSchema>;
export type DockerNetworkDetail = z.infer<typeof networkDetailSchema>;
export type DockerContainer = z.infer<typeof containerSchema>;
export type DockerProcess = z.infer<typeof processSchema>;
export type DockerEvent = z.infer<typeof eventSchema>;

/** The body of POST /networks/create, as far as it is used here. */
export interface CreateDockerNetwork {
  readonly Name: string;
  readonly Driver: string;
  readonly CheckDuplicate: true;
  readonly Internal: boolean;
  readonly EnableIPv6: boolean;
  readonly IPAM: {
    readonly Driver: string;
    readonly Options: Readonly<Record<string, string>>;
    readonly Config: readonly { readonly Subnet: string; readonly Gateway?: string }[];
  };
  readonly Options: Readonly<Record<string, string>>;
  readonly Labels: Readonly<Record<string, string>>;
}

/** Docker said no (`status`), or nothing that makes sense (none). */
export class EngineApiError extends Error {
  constructor(
    message: string,
    readonly status?: number,
    options?: { cause?: unknown },
  ) {
    super(message, options);
    this.name = 'EngineApiError';
  }
}

export interface EngineApiOptions {
  readonly socketPath: string;
  /** Of one request; of a stream of events until it begins. @default 20 s, since a container that starts holds its locks */
  readonly timeoutMs?: number | undefined;
}

export interface EventHandlers {
  /** The stream has begun: what happens from now on is told. */
  readonly onOpen: () => void;
  readonly onEvent: (event: DockerEvent) => void;
}

/** Each method throws EngineApiError. */
export class EngineApi {
  private readonly options: EngineApiOptions;

  constructor(options: EngineApiOptions) {
    this.options = options;
  }

  get socketPath(): string {
    return this.options.socketPath;
  }

  async networks(): Promise<DockerNetwork[]> {
    return this.read(z.array(networkSchema), '/networks');
  }

  /** @returns undefined if there is none. */
  network(id: string): Promise<DockerNetworkDetail | undefined> {
    return this.readIfThere(networkDetailSchema, `/networks/${encodeURIComponent(id)}`);
  }

  /** @returns undefined if there is none. */
  container(id: string): Promise<DockerContainer | undefined> {
    return this.readIfThere(containerSchema, `/containers/${encodeURIComponent(id)}/json`);
  }

  /** What a container runs as. @param name or id. @returns undefined if there is none. */
  process(name: string): Promise<DockerProcess | undefined> {
    return this.readIfThere(processSchema, `/containers/${encodeURIComponent(name)}/json`);
  }

  /** @returns its id. */
  async createNetwork(network: CreateDockerNetwork): Promise<string> {
    const text = await this.call('POST', '/networks/create', network);
    return parse(z.object({ Id: z.string() }), text, '/networks/create').Id;
  }

  /** One that is not there is removed. */
  async removeNetwork(id: string): Promise<void> {
    await unlessGone(this.call('DELETE', `/networks/${encodeURIComponent(id)}`));
  }

  /**
   * Follows events until `signal` or the stream's end. @param filters as Docker's: `{ type: ['network'] }`
   * @param sinceSeconds those too that have been since then (UNIX time)
   */
  async events(
    filters: Readonly<Record<string, readonly string[]>>,
    handlers: EventHandlers,
    signal: AbortSignal,
    sinceSeconds?: number,
  ): Promise<void> {
    const since = sinceSeconds === undefined ? '' : `since=${sinceSeconds}&`;
    const path = `/events?${since}filters=${encodeURIComponent(JSON.stringify(filters))}`;
    const answer = await this.send('GET', path, undefined, signal);
    if (answer.statusCode !== 200) throw refusal(path, answer, await readText(answer, path));
    handlers.onOpen();
    try {
      for await (const line of linesOf(answer)) {
        if (line.trim() === '') continue;
        const event = eventSchema.safeParse(jsonOf(line));
        // Others than those of networks and containers may have another form.
        if (event.success) handlers.onEvent(event.data);
      }
    } catch (cause) {
      if (!signal.aborted)
        throw new EngineApiError(`the events of Docker broke off: ${text(cause)}`, undefined, { cause });
    } finally {
      answer.destroy();
    }
  }

  private async read<T>(schema: z.ZodType<T>, path: string): Promise<T> {
    return parse(schema, await this.call('GET', path), path);
  }

  private async readIfThere<T>(schema: z.ZodType<T>, path: string): Promise<T | undefined> {
    const body = await unlessGone(this.call('GET', path));
    return body === undefined ? undefined : parse(schema, body, path);
  }

  /** @returns the answer's body. */
  private async call(method: string, path: string, body?: unknown): Promise<string> {
    const signal = AbortSignal.timeout(this.timeoutMs);
    const answer = await this.send(method, path, body, signal);
    const answered = await readText(answer, path);
    const { statusCode = 0 } = answer;
    if (statusCode < 200 || statusCode > 299) throw refusal(path, answer, answered);
    return answered;
  }

  private send(method: string, path: string, body: unknown, signal: AbortSignal): Promise<IncomingMessage> {
    const { socketPath } = this.options;
    const content = body === undefined ? undefined : JSON.stringify(body);
    const headers = {
      host: 'docker',
      ...(content === undefined
        ? {}
        : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(content) }),
    };
    return new Promise((resolve, reject) => {
      const fail = (cause: unknown) => {
        const why = signal.aborted ? `no answer within ${this.timeoutMs / 1000} s` : text(cause);
        reject(new EngineApiError(`Docker at ${socketPath} does not answer (${why})`, undefined, { cause }));
      };
      // A connection for each request: one that is kept is dead after each restart of dockerd.
      const call = request({ ...{ socketPath, method, path, headers, signal }, agent: false }, (answer) => {
        clearTimeout(timer);
        resolve(answer);
      });
      const timer = setTimeout(
        () => call.destroy(new Error(`nothing within ${this.timeoutMs / 1000} s`)),
        this.timeoutMs,
      );
      call.on('error', (error) => {
        clearTimeout(timer);
        fail(error);
      });
      call.end(content);
    });
  }

  private get timeoutMs(): number {
    return this.options.timeoutMs ?? TIMEOUT_MS;
  }
}

/** undefined: Docker says that there is no such thing. */
async function unlessGone<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof EngineApiError && error.status === 404) return undefined;
    throw error;
  }
}

async function readText(answer: IncomingMessage, path: string): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > ANSWER_BYTES_MAX) throw new Error(`more than ${ANSWER_BYTES_MAX} bytes`);
      chunks.push(chunk);
    }
  } catch (cause) {
    throw new EngineApiError(`Docker's answer to ${path} broke off: ${text(cause)}`, undefined, { cause });
  }
  return Buffer.concat(chunks).toString();
}

function refusal(path: string, { statusCode }: IncomingMessage, body: string): EngineApiError {
  const said = z.object({ message: z.string() }).safeParse(jsonOf(body));
  const why = (said.success ? said.data.message : body.slice(0, 200)).trim().replace(/\s+/g, ' ');
  return new EngineApiError(why === '' ? `Docker answers ${statusCode} to ${path}` : why, statusCode);
}

function parse<T>(schema: z.ZodType<T>, body: string, path: string): T {
  const parsed = schema.safeParse(jsonOf(body));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const where = issue?.path.join('.') ?? '';
  throw new EngineApiError(`Docker's answer to ${path} makes no sense: ${where} ${issue?.message ?? ''}`.trim());
}

function jsonOf(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

function text(cause: unknown): string {
  const { code, message } = cause as NodeJS.ErrnoException;
  return code ?? message ?? String(cause);
}

/** Not node:readline, which throws a broken stream's error where nobody can catch it. */
async function* linesOf(stream: IncomingMessage): AsyncGenerator<string> {
  let rest = '';
  stream.setEncoding('utf8');
  for await (const text of stream as AsyncIterable<string>) {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
}
