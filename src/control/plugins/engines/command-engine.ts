/**
 * A container engine without a daemon to ask, by its command: `podman container inspect NAME ...`; nerdctl has the same.
 * Control plane, main thread. The environment goes along: it says where the engine keeps its containers.
 */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { execa } from 'execa';
import type { EngineName } from '../../api/container-schema.js';
import {
  type Container,
  type ContainerEngine,
  engineUnreachable,
  type Inspected,
  toContainer,
} from './container-engine.js';

const COMMAND_TIMEOUT_MS = 10_000;

export class CommandEngine implements ContainerEngine {
  readonly name: EngineName;
  readonly place: string;

  constructor(name: EngineName) {
    this.name = name;
    this.place = `the command ${name}`;
  }

  async isPresent(): Promise<boolean> {
    const folders = (process.env.PATH ?? '').split(delimiter).filter((folder) => folder !== '');
    const found = folders.map((folder) => access(join(folder, this.name), constants.X_OK));
    return (await Promise.allSettled(found)).some(({ status }) => status === 'fulfilled');
  }

  async inspect(names: readonly string[]): Promise<Container[]> {
    if (names.length === 0) return [];
    const args = ['container', 'inspect', '--', ...names];
    const { stdout, stderr, failed, timedOut } = await execa(this.name, args, {
      ...{ reject: false, timeout: COMMAND_TIMEOUT_MS, stdin: 'ignore', env: { LC_ALL: 'C' } },
    });
    const found = parseInspected(stdout);
    if (found !== undefined) return found.map((one) => toContainer(this.name, one));
    const lines = stderr.split('\n').filter((line) => line.trim() !== '');
    if (lines.length > 0 && lines.every((line) => /no such/i.test(line))) return [];
    const why = timedOut ? `no answer in ${COMMAND_TIMEOUT_MS / 1000} s` : (lines.at(-1) ?? 'it said nothing');
    if (!failed) return [];
    throw engineUnreachable(this.name, this.place, why);
  }
}

/** It ends with an error where one of the names is unknown, and prints the others all the same. */
function parseInspected(text: string): Inspected[] | undefined {
  try {
    const found = JSON.parse(text) as unknown;
    return Array.isArray(found) && found.length > 0 ? (found as Inspected[]) : undefined;
  } catch {
    return undefined;
  }
}
