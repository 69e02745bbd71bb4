#!/usr/bin/env node
/**
 * vtep-cni: what a container runtime runs. One request to vtepd, whose answer is printed; nothing is decided here but what
 * must be answered without vtepd.
 *
 *     environment, stdin ─▶ POST /v1/cni on the unix socket ─▶ stdout; exit code 0, or 1 with an error
 *
 * It runs for each interface of each container, so it imports nothing but Node's own HTTP client: the rest is in
 * src/control/plugins/cni/, in a process that runs already.
 */
import { readFileSync } from 'node:fs';
import { request } from 'node:http';

const COMMANDS = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION'];
const VERSIONS = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'];
const VARIABLES = ['CNI_COMMAND', 'CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_ARGS', 'CNI_PATH'];
const SOCKET_DEFAULT = '/run/vtep/vtepd.sock';
/** Longer than vtepd takes for anything, shorter than a runtime waits. */
const ANSWER_MILLISECONDS = 100_000;

const { env } = process;
const command = env.CNI_COMMAND ?? '';
let config: Record<string, unknown> = {};

function print(text: string, exitCode: number): void {
  process.exitCode = exitCode;
  if (text !== '') process.stdout.write(`${text}\n`);
}

function fail(code: number, msg: string, details: string): void {
  const version = VERSIONS.find((known) => known === config.cniVersion) ?? VERSIONS.at(-1);
  print(JSON.stringify({ cniVersion: version, code, msg, details }), 1);
}

/** vtepd is not there, or went away: 50 says so to STATUS, 11 is "try again later". */
function unreachable(socketPath: string, details: string): void {
  fail(
    command === 'STATUS' ? 50 : 11,
    `vtepd is not reachable on ${socketPath}: start it, or give the right "socket"`,
    details,
  );
}

/** @returns whether there is a configuration to go on with */
function readConfig(): boolean {
  const text = readFileSync(0, 'utf8');
  // Some runtimes ask for the version with nothing on standard input.
  if (command === 'VERSION' && text.trim() === '') return true;
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) {
      config = parsed as typeof config;
      return true;
    }
    fail(6, 'the configuration on standard input must be a JSON object', text.slice(0, 80));
  } catch (error) {
    fail(6, 'the configuration on standard input is not JSON', (error as Error).message);
  }
  return false;
}

function ask(): void {
  const socketPath = String(config.socket ?? env.VTEP_SOCKET ?? SOCKET_DEFAULT);
  const environment = Object.fromEntries(VARIABLES.filter((name) => env[name]).map((name) => [name, env[name]]));
  const headers = { 'content-type': 'application/json' };
  const options = { socketPath, path: '/v1/cni', method: 'POST', headers, timeout: ANSWER_MILLISECONDS };
  const asked = request(options, (answer) => {
    let text = '';
    answer.setEncoding('utf8').on('data', (part: string) => {
      text += part;
    });
    answer.on('error', (error) => unreachable(socketPath, error.message));
    answer.on('end', () => {
      const { statusCode = 0 } = answer;
      if (statusCode === 200 || statusCode === 204) print(text, 0);
      else if (/^\{"cniVersion":/.test(text)) print(text, 1);
      else fail(100, `vtepd answered HTTP ${statusCode}; is it of the same version as vtep-cni?`, text.slice(0, 200));
    });
  });
  asked.on('timeout', () => asked.destroy(new Error(`no answer in ${ANSWER_MILLISECONDS / 1000} s`)));
  asked.on('error', (error: Error) => unreachable(socketPath, error.message));
  asked.end(JSON.stringify({ environment, config }));
}

if (!COMMANDS.includes(command)) {
  fail(4, `CNI_COMMAND "${command}": must be one of ${COMMANDS.join(', ')}`, 'CNI_COMMAND');
} else if (readConfig()) {
  if (command === 'VERSION') {
    print(JSON.stringify({ cniVersion: config.cniVersion ?? VERSIONS.at(-1), supportedVersions: VERSIONS }), 0);
  } else {
    ask();
  }
}
