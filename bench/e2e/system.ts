/**
 * What the end-to-end benchmark measures: a system carries packets between a client and a server, over the same
 * underlay as all the others. To add one, see README.md in this folder.
 */
import { existsSync, readdirSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Topology } from './topology.js';

/** One end of the path. */
export interface End {
  /** The network namespace in which the measuring program runs. */
  readonly netns: string;
  /** The IPv4 address of this end, over the system. */
  readonly address: string;
}

/** A process whose CPU time is the system's own. Kernel systems have none. */
export interface DaemonProcess {
  readonly name: string;
  readonly pid: number;
}

export interface Path {
  readonly client: End;
  readonly server: End;
  readonly daemons?: readonly DaemonProcess[];
  /** Puts `count` networks on the daemons in all; for the CPU time of idle ones. */
  growNetworks?(count: number): Promise<void>;
}

export interface SystemOptions {
  /** Further arguments for vtepd. */
  readonly vtepdArgs: readonly string[];
}

/** What a file of a system exports. */
export interface System {
  /** In options, JSON and tables: lower-case letters, digits, dashes. */
  readonly name: string;
  /** For people, in the chart. */
  readonly label: string;
  /** Names of systems; its figures are divided by theirs, the most alike first. */
  readonly comparedWith?: readonly string[];
  /** Namespaces and processes made by way of the topology are removed with it. */
  up(topology: Topology, options: SystemOptions): Promise<Path>;
  /** Only for what the topology does not remove by itself. */
  down?(): Promise<void>;
}

/** The order of tables and charts; what is not named here follows, by name. */
const ORDER = ['underlay', 'kernel-vxlan', 'kernel-vxlan-bridge', 'vtep-tap', 'vtep'];

/** @throws Error that says what the file lacks */
export function checkSystem(exported: Record<string, unknown>, path: string): System {
  const { name, label, up, down, comparedWith } = exported;
  const must = (right: boolean, rule: string) => {
    if (!right) throw new Error(`${path} is no system: ${rule}`);
  };
  must(typeof name === 'string' && /^[a-z0-9][a-z0-9-]{0,31}$/.test(name), 'it must export name, such as "my-vpn"');
  must(isText(label) && label !== '' && label.length <= 32, 'it must export label, a text of at most 32 characters');
  must(typeof up === 'function', 'it must export up, a function');
  must(down === undefined || typeof down === 'function', 'down must be a function');
  const names = comparedWith === undefined || (Array.isArray(comparedWith) && comparedWith.every(isText));
  must(names, 'comparedWith must be an array of names of systems');
  return exported as unknown as System;
}

const isText = (value: unknown): value is string => typeof value === 'string';

/** The systems of the folder `systems/`, and those of further files. @throws Error that names the file */
export async function loadSystems(root: string, furtherPaths: readonly string[]): Promise<System[]> {
  const sources = join(root, 'bench/e2e/systems');
  const own = readdirSync(sources)
    .filter((file) => file.endsWith('.ts'))
    .map((file) => new URL(`./systems/${basename(file, '.ts')}.js`, import.meta.url));
  const further = furtherPaths.map((path) => {
    if (!existsSync(path)) throw new Error(`--system ${path}: there is no such file`);
    return pathToFileURL(resolve(path));
  });
  const systems = new Map<string, System>();
  for (const url of [...own, ...further]) {
    const system = checkSystem(await import(url.href), url.pathname);
    if (systems.has(system.name)) throw new Error(`${url.pathname}: there is a system "${system.name}" already`);
    systems.set(system.name, system);
  }
  const place = ({ name }: System) => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);
  return [...systems.values()].sort((a, b) => place(a) - place(b) || a.name.localeCompare(b.name));
}
