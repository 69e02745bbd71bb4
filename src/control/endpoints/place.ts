/** Which container of this host an attach or a detach means. Control plane. */
import type { Attach, Detach } from '../api/schema.js';
import { type ContainerFinder, containerLabels } from '../plugins/engines/container-finder.js';
import { type SandboxInput, sandboxIdentity, sandboxLabel } from '../ports/namespace.js';
import type { LocalEndpoint } from '../state/local-state.js';
import { doesNotRun } from './attach-refusals.js';

export interface Place {
  /** As endpoints call it (`sandbox`): one way, or where the engine could not be asked several. */
  readonly labels: readonly string[];
  /** How its namespace is found; a container that does not run, or is not known, has none. */
  readonly sandbox: SandboxInput | { readonly error: unknown };
}

/** Never rejects: who has been attached by the name is known without its engine. */
export async function findPlace(containers: ContainerFinder, input: Attach | Detach): Promise<Place> {
  const { container: name, engine, netns, pid } = input;
  if (name === undefined) return { labels: [sandboxLabel({ netns, pid })], sandbox: { netns, pid } };
  try {
    const container = await containers.find(name, engine);
    const labels = containerLabels(container.name, container.engine);
    const sandbox = container.pid === undefined ? undefined : { pid: container.pid, container };
    return { labels, sandbox: sandbox ?? { error: doesNotRun(container.engine, container.name) } };
  } catch (error) {
    return { labels: containerLabels(name, engine), sandbox: { error } };
  }
}

/** Whether a detach means an endpoint, of those on its network. */
export async function fitsDetach(
  containers: ContainerFinder,
  input: Detach,
): Promise<(endpoint: LocalEndpoint) => boolean> {
  const { owner, id, name } = input;
  if (owner !== undefined) return (endpoint) => endpoint.owner === owner;
  if (id !== undefined) return (endpoint) => endpoint.id === id;
  if (name !== undefined) return (endpoint) => endpoint.name === name;
  const { labels, sandbox } = await findPlace(containers, input);
  // The same namespace by another name is meant too; one that is gone is known by its label only.
  const identity = 'error' in sandbox ? undefined : await sandboxIdentity(sandbox);
  return (endpoint) =>
    labels.includes(endpoint.sandbox) ||
    endpoint.sandboxIdentity === identity ||
    (input.container !== undefined && endpoint.containerId === input.container);
}
