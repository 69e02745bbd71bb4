/**
 * `npm run soak -- --minutes N [--seed S] [--hosts H] [--every M] [--replay FILE] [--keep-logs]`: a chaos run
 * (docs/testing.md). Exit status 0: nothing was wrong; 1: something was, and the report says what; 2: wrong options.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { Recording } from './actions.js';
import { runChaos } from './run.js';

const USAGE = 'soak [--minutes N] [--seed S] [--hosts H] [--every M] [--replay FILE] [--keep-logs]';

function fail(message: string): never {
  process.stderr.write(`soak: ${message}\n${USAGE}\n`);
  process.exit(2);
}

function readOptions() {
  try {
    const text = { type: 'string' } as const;
    const { values } = parseArgs({
      options: { minutes: text, seed: text, hosts: text, every: text, replay: text, 'keep-logs': { type: 'boolean' } },
    });
    return values;
  } catch (error) {
    return fail((error as Error).message);
  }
}

function wholeNumber(name: string, text: string | undefined, otherwise: number, min: number, max: number): number {
  if (text === undefined) return otherwise;
  const number = Number(text);
  if (!Number.isInteger(number) || number < min || number > max)
    fail(`--${name} ${text}: give a whole number from ${min} to ${max}`);
  return number;
}

const values = readOptions();
if (process.getuid?.() !== 0) fail('a chaos run makes network namespaces and needs root');
const replay = values.replay === undefined ? undefined : (JSON.parse(readFileSync(values.replay, 'utf8')) as Recording);
const seed = wholeNumber('seed', values.seed, replay?.seed ?? Math.floor(Math.random() * 2 ** 31), 0, 2 ** 32 - 1);
const hosts = wholeNumber('hosts', values.hosts, replay?.hosts ?? 3, 2, 9);
const minutes = wholeNumber('minutes', values.minutes, 10, 1, 100_000);
const every = wholeNumber('every', values.every, 15, 1, 1000);
const print = (line: string) => process.stdout.write(`${line}\n`);
print(`seed ${seed}, ${hosts} hosts${replay === undefined ? `, ${minutes} minutes` : `, replay of ${values.replay}`}`);

const result = await runChaos({
  ...{ seed, hosts, every, print, keepLogs: values['keep-logs'] === true },
  ...(replay === undefined ? { minutes } : { replay: replay.actions }),
});
const counts = `${result.actions} actions, ${result.quietPoints} quiet points, ${result.pings} pings`;
print(result.violations.length === 0 ? `all was as it should be: ${counts}` : `${result.report}\n${counts}`);
process.exit(result.violations.length === 0 ? 0 : 1);
