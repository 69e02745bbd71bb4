/**
 * `npm run fuzz -- [--minutes N] [--seed S] [--round R]`: hostile datagrams and frames through the data plane, as many as
 * the time allows (docs/testing.md). Exit status 0: nothing was wrong; 1: something was, and the report says what; 2: wrong
 * options. With --round, that round of the seed alone, unless --minutes says longer.
 */
import { parseArgs } from 'node:util';
import { fuzz, ROUND_BATCHES } from './fuzz.js';
import { Rig } from './rig.js';

const USAGE = 'fuzz [--minutes N] [--seed S] [--round R]';
const REPORT_SECONDS = 30;

function fail(message: string): never {
  process.stderr.write(`fuzz: ${message}\n${USAGE}\n`);
  process.exit(2);
}

function readOptions() {
  try {
    const text = { type: 'string' } as const;
    return parseArgs({ options: { minutes: text, seed: text, round: text } }).values;
  } catch (error) {
    return fail((error as Error).message);
  }
}

function numberOf(name: string, text: string | undefined, otherwise: number, max: number): number {
  if (text === undefined) return otherwise;
  const number = Number(text);
  if (!Number.isFinite(number) || number < 0 || number > max) fail(`--${name} ${text}: give a number from 0 to ${max}`);
  return number;
}

const values = readOptions();
const seed = Math.floor(numberOf('seed', values.seed, Math.floor(Math.random() * 2 ** 31), 2 ** 32 - 1));
const round = Math.floor(numberOf('round', values.round, 0, 2 ** 31));
const minutes = numberOf('minutes', values.minutes, values.round === undefined ? 1 : 0, 100_000);
const print = (line: string) => process.stdout.write(`${line}\n`);
print(`seed ${seed}, ${minutes} minutes`);

const rig = new Rig(false);
const begin = performance.now();
let reportedSeconds = 0;

function progress(): string {
  const seconds = (performance.now() - begin) / 1000;
  const { datagrams, frames } = rig.received();
  const { delivered, coalesced } = rig.underlay;
  const rate = Math.round((datagrams + frames) / seconds);
  const outcome = `${delivered} delivered (${coalesced} coalesced), ${rig.tap.sent} sent`;
  const pace = `${rate} a second, slowest batch ${rig.slowestMs.toFixed(1)} ms`;
  return `${seconds.toFixed(0)} s: ${datagrams} datagrams, ${frames} frames from TAPs; ${outcome}; ${pace}`;
}

const report = fuzz(rig, {
  ...{ seed, round, roundBatches: ROUND_BATCHES, print },
  isEnough: () => {
    const seconds = (performance.now() - begin) / 1000;
    if (seconds - reportedSeconds >= REPORT_SECONDS) {
      reportedSeconds = seconds;
      print(progress());
    }
    return seconds >= minutes * 60;
  },
});
print(progress());
print(report ?? 'nothing was wrong');
process.exit(report === undefined ? 0 : 1);
