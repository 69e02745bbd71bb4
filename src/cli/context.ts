/**
 * What every command works with: the client for --socket, where to print, and whether as JSON. No global state, so that
 * tests run commands in their own process.
 */
import type { Command } from 'commander';
import { ApiClient } from './client.js';

export interface CliIo {
  readonly env: Readonly<Record<string, string | undefined>>;
  stdout(text: string): void;
  stderr(text: string): void;
}

export const SOCKET_DEFAULT = '/run/vtep/vtepd.sock';

export interface Context {
  readonly client: ApiClient;
  readonly json: boolean;
  /** Prints the API's answer as pretty JSON with --json, else `text`. */
  print(raw: unknown, text: () => string): void;
  /** One line on standard error, for a command that goes on after a failure. */
  complain(error: unknown): void;
}

/** Made from the options of the command that runs: --socket and --json may stand before or after its name. */
export type ContextOf = (command: Command) => Context;

export function contextFactory(io: CliIo, complain: (error: unknown) => void): ContextOf {
  return (command) => {
    const options = command.optsWithGlobals<{ socket?: string; json?: boolean }>();
    const socket = options.socket ?? (io.env.VTEP_SOCKET || SOCKET_DEFAULT);
    const json = options.json === true;
    return {
      client: new ApiClient(socket),
      json,
      print: (raw, text) => io.stdout(json ? `${JSON.stringify(raw, null, 2)}\n` : text()),
      complain,
    };
  };
}

/** A number if the text is one; else the text itself, for the schema to refuse by name. */
export function numberOrText(text: string | undefined): number | string | undefined {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : text;
}

/** For `on` and `off` what they mean; else the text itself, for the schema to refuse by name. */
export function onOrText(text: string | undefined): boolean | string | undefined {
  if (text === 'on') return true;
  return text === 'off' ? false : text;
}

/** The object without its undefined fields: they were not given. */
export function given(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

/** For an option that may be given again. */
export function collect(text: string, earlier: readonly string[] = []): string[] {
  return [...earlier, text];
}
