/**
 * What an operator calls a container (`--netns NAME`, `--netns /path`, `--pid N`), turned into a network namespace. A
 * container's name is turned into a pid before (plugins/engines/).
 *
 * The inode of a namespace is its identity while it lives: a name and a pid may mean the same one.
 */
import { stat } from 'node:fs/promises';
import { checkMayEnter, readPrivileges, refusedToLook } from '../capabilities.js';
import { VtepError } from '../errors.js';
import type { Iproute } from './iproute.js';

export interface SandboxInput {
  readonly netns?: string | undefined;
  readonly pid?: number | undefined;
  /** Whose pid it is: it goes by that name. */
  readonly container?: { readonly engine: string; readonly name: string; readonly id: string } | undefined;
}

export interface Sandbox {
  /** `netns:NAME`, `pid:N` or `docker:NAME`: what was asked for. */
  readonly label: string;
  /** Absolute path that nsenter takes. */
  readonly path: string;
  /** Identity of the namespace: `device:inode`. */
  readonly identity: string;
  /** A name for an endpoint that was given none. */
  readonly defaultName: string;
  /** Its engine's. */
  readonly containerId?: string | undefined;
}

const NAMED_DIRECTORY = '/run/netns';

/** The label alone: what detach goes by when the namespace is no more. */
export function sandboxLabel(input: SandboxInput): string {
  if (input.container !== undefined) return `${input.container.engine}:${input.container.name}`;
  return input.netns === undefined ? `pid:${input.pid}` : `netns:${input.netns}`;
}

/**
 * @throws VtepError VTEP_ERR_NAMESPACE_UNKNOWN (no such thing, or not a network namespace), VTEP_ERR_INVALID (the host's own),
 *   VTEP_ERR_NOT_ROOT (vtepd runs without what it needs to enter it)
 */
export async function resolveSandbox(iproute: Iproute, input: SandboxInput): Promise<Sandbox> {
  const label = sandboxLabel(input);
  const path = sandboxPath(input);
  const identity = await namespaceIdentity(path);
  if (identity === undefined) throw await unknown(input, path);
  checkMayEnter(readPrivileges(), describe(input));
  if (!(await iproute.isNetworkNamespace(path))) {
    throw new VtepError(
      'VTEP_ERR_NAMESPACE_UNKNOWN',
      `${path} is no network namespace: "ip netns list" shows those with a name`,
    );
  }
  if (identity === (await namespaceIdentity(hostPath(iproute)))) {
    throw new VtepError(
      'VTEP_ERR_INVALID',
      `${describe(input)} is the host's own network namespace: give a container's, such as one made by "ip netns add NAME"`,
    );
  }
  return { label, path, identity, defaultName: defaultName(input), containerId: input.container?.id };
}

/** @returns undefined if nothing is there. */
export async function namespaceIdentity(path: string): Promise<string | undefined> {
  try {
    const found = await stat(path);
    return `${found.dev}:${found.ino}`;
  } catch {
    return undefined;
  }
}

/** The identity of what the input means now, or undefined. Never throws. */
export async function sandboxIdentity(input: SandboxInput): Promise<string | undefined> {
  try {
    return await namespaceIdentity(sandboxPath(input));
  } catch {
    return undefined;
  }
}

/** As sandboxIdentity, but not of the plain file that `ip netns` makes before a namespace is there, and removes last. */
export async function mountedIdentity(input: SandboxInput): Promise<string | undefined> {
  const [identity, own] = await Promise.all([sandboxIdentity(input), namespaceIdentity('/proc/self/ns/net')]);
  const device = (text: string | undefined) => text?.split(':')[0];
  return device(identity) === device(own) ? identity : undefined;
}

/**
 * The ways into the namespace of an endpoint, which may have got another name, or another process, since it was attached.
 *
 * @param endpoint by the label that it was asked for, and the identity
 */
export async function sandboxPaths(
  iproute: Iproute,
  endpoint: { readonly sandbox: string; readonly sandboxIdentity: string },
  hostInterface: string,
): Promise<string[]> {
  // A container's name leads nowhere by itself.
  const labelled = /^(pid|netns):/.test(endpoint.sandbox) ? labelPath(endpoint.sandbox) : undefined;
  const ways = labelled === undefined ? [] : [labelled];
  if (labelled === undefined || (await namespaceIdentity(labelled)) !== endpoint.sandboxIdentity) {
    const nsid = (await iproute.link(hostInterface))?.link_netnsid;
    if (nsid !== undefined) ways.push(...(await iproute.sandboxes(nsid)).map(({ path }) => path));
  }
  const found: string[] = [];
  for (const path of ways) if ((await namespaceIdentity(path)) === endpoint.sandboxIdentity) found.push(path);
  return found;
}

/** Where a label leads: the path of `netns:NAME` or `pid:N`. */
export function labelPath(label: string): string {
  const [kind, ...rest] = label.split(':');
  const name = rest.join(':');
  return sandboxPath(kind === 'pid' ? { pid: Number(name) } : { netns: name });
}

function sandboxPath(input: SandboxInput): string {
  if (input.netns === undefined) return `/proc/${input.pid}/ns/net`;
  if (input.netns.startsWith('/')) return input.netns;
  if (input.netns.includes('/') || input.netns === '.' || input.netns === '..') {
    throw new VtepError(
      'VTEP_ERR_NAMESPACE_UNKNOWN',
      `netns "${input.netns}" is neither a name that "ip netns list" shows nor an absolute path`,
    );
  }
  return `${NAMED_DIRECTORY}/${input.netns}`;
}

async function unknown(input: SandboxInput, path: string): Promise<VtepError> {
  if (input.container !== undefined) {
    return new VtepError('VTEP_ERR_CONTAINER_UNKNOWN', `${describe(input)} has just ended: start it again`);
  }
  if (input.netns === undefined) {
    const errno = await stat(path).then(
      () => undefined,
      (error: NodeJS.ErrnoException) => error.code,
    );
    if (errno === 'EACCES' || errno === 'EPERM') return refusedToLook(readPrivileges(), input.pid ?? 0, errno);
    return new VtepError(
      'VTEP_ERR_NAMESPACE_UNKNOWN',
      `process ${input.pid} does not run: give the pid of a running container`,
    );
  }
  if (input.netns.startsWith('/')) {
    return new VtepError('VTEP_ERR_NAMESPACE_UNKNOWN', `${path} does not exist: give the path of a network namespace`);
  }
  return new VtepError(
    'VTEP_ERR_NAMESPACE_UNKNOWN',
    `network namespace "${input.netns}" does not exist: "ip netns list" shows those there are, "ip netns add ${input.netns}" makes it`,
  );
}

function describe(input: SandboxInput): string {
  if (input.container !== undefined) return `container "${input.container.name}"`;
  return input.netns === undefined ? `process ${input.pid}` : `netns "${input.netns}"`;
}

/** Names are 1 to 63 letters, digits, "_", "." or "-". */
function defaultName(input: SandboxInput): string {
  const text = input.container?.name ?? input.netns;
  if (text === undefined) return `pid-${input.pid}`;
  const base = text.slice(text.lastIndexOf('/') + 1).replace(/[^a-zA-Z0-9_.-]/g, '-');
  return base.replace(/^[^a-zA-Z0-9]+/, '').slice(0, 63) || 'endpoint';
}

/** The namespace that the commands of `iproute` work in. */
function hostPath(iproute: Iproute): string {
  const entered = iproute.prefix.find((word) => word.startsWith('--net='));
  return entered === undefined ? '/proc/self/ns/net' : entered.slice('--net='.length);
}
