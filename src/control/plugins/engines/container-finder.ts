/** The container that a person means by a name, with whichever engine has it. Control plane. */
import { ENGINE_NAMES, type EngineName } from '../../api/container-schema.js';
import { VtepError } from '../../errors.js';
import { CommandEngine } from './command-engine.js';
import type { Container, ContainerEngine } from './container-engine.js';
import { DockerContainers } from './docker-containers.js';

export class ContainerFinder {
  readonly engines: readonly ContainerEngine[];

  constructor(engines: readonly ContainerEngine[]) {
    this.engines = engines;
  }

  /** @param dockerApi the socket of Docker's API; undefined: Docker is not asked */
  static ofHost(dockerApi: string | undefined): ContainerFinder {
    const docker = dockerApi === undefined ? [] : [new DockerContainers(dockerApi)];
    return new ContainerFinder([...docker, new CommandEngine('podman'), new CommandEngine('nerdctl')]);
  }

  engine(name: EngineName): ContainerEngine | undefined {
    return this.engines.find((engine) => engine.name === name);
  }

  /**
   * @param name or id. @param engine `auto`: whichever has it
   * @throws VtepError VTEP_ERR_CONTAINER_UNKNOWN, VTEP_ERR_ENGINE_UNREACHABLE, VTEP_ERR_INVALID (several engines have it)
   */
  async find(name: string, engine: EngineName | 'auto' = 'auto'): Promise<Container> {
    const asked = this.engines.filter((one) => engine === 'auto' || one.name === engine);
    const present: ContainerEngine[] = [];
    for (const one of asked) if (engine !== 'auto' || (await one.isPresent())) present.push(one);
    if (present.length === 0) throw noEngine(name, engine, this.engines);
    const answers = await Promise.allSettled(present.map((one) => one.inspect([name])));
    const found = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value.slice(0, 1) : []));
    if (found.length > 1) {
      const engines = found.map((one) => one.engine).join(' and ');
      throw new VtepError('VTEP_ERR_INVALID', `container "${name}" is there in ${engines}: say which with --engine`);
    }
    if (found[0] !== undefined) return found[0];
    const failed = answers.find((answer) => answer.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    const names = present.map((one) => one.name).join(' or ');
    throw new VtepError(
      'VTEP_ERR_CONTAINER_UNKNOWN',
      `container "${name}" does not exist in ${names}: "${present[0]!.name} ps" shows those that run`,
    );
  }
}

function noEngine(name: string, engine: string, engines: readonly ContainerEngine[]): VtepError {
  const places = engines.map((one) => `${one.name} (${one.place})`).join(', ');
  const what = engine === 'auto' ? 'no container engine was found on this host' : `vtepd does not ask ${engine}`;
  return new VtepError(
    'VTEP_ERR_CONTAINER_UNKNOWN',
    `container "${name}" can't be looked up: ${what}, of ${places}; attach it with --pid or --netns`,
  );
}

/** Each way in which a container of the name can be called in an endpoint's `sandbox`. */
export function containerLabels(name: string, engine: EngineName | 'auto' = 'auto'): string[] {
  return (engine === 'auto' ? ENGINE_NAMES : [engine]).map((one) => `${one}:${name}`);
}
