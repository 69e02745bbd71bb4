/**
 * What vtep asks of a container engine: which process a container runs as. Control plane.
 *
 *     docker                its API, on a unix socket; says by itself when a container starts
 *     podman, nerdctl       their commands; are asked again and again while somebody waits
 */
import type { EngineName } from '../../api/container-schema.js';
import { VtepError } from '../../errors.js';

export interface Container {
  readonly engine: EngineName;
  readonly id: string;
  /** The engine's own spelling, without a slash. */
  readonly name: string;
  /** Of its first process, as this host counts them; undefined: it does not run. */
  readonly pid: number | undefined;
}

export interface ContainerEngine {
  readonly name: EngineName;
  /** Where it is found: a socket, a command. For messages. */
  readonly place: string;
  /** Whether there is such an engine on this host. Never rejects. */
  isPresent(): Promise<boolean>;
  /**
   * Those that there are of these names or ids, running or not.
   * @throws VtepError VTEP_ERR_ENGINE_UNREACHABLE
   */
  inspect(names: readonly string[]): Promise<Container[]>;
  /** Tells of containers that start, until it is closed. Absent: the engine has to be asked. */
  readonly watch?: ((listener: StartListener) => { close(): void }) | undefined;
}

export interface StartListener {
  /** What started before is to be asked for; what starts from now on is told. Again after each loss. */
  onListening(): void;
  /** Nothing is told until the next onListening. */
  onLost(): void;
  onStart(containerName: string): void;
}

/** The fields of `inspect` that all engines share: Docker's. */
export interface Inspected {
  readonly Id: string;
  readonly Name: string;
  readonly State?:
    | {
        readonly Running?: boolean | undefined;
        readonly Status?: string | undefined;
        readonly Pid?: number | undefined;
      }
    | undefined;
}

export function toContainer(engine: EngineName, { Id, Name, State }: Inspected): Container {
  const runs = State?.Running ?? State?.Status === 'running';
  return { engine, id: Id, name: Name.replace(/^\//, ''), pid: runs && State?.Pid ? State.Pid : undefined };
}

export function engineUnreachable(engine: string, place: string, why: string, cause?: unknown): VtepError {
  return new VtepError('VTEP_ERR_ENGINE_UNREACHABLE', `${engine} (${place}) does not answer: ${why}`, { cause });
}
