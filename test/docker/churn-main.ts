/**
 * `npm run soak:docker -- [--minutes N] [--containers N] [--seed S]`: containers of two real dockerds come and go
 * (churn.ts, docs/testing.md). Exit status 0: nothing was wrong; 1: something was, and it is said; 2: wrong options.
 */
import { parseArgs } from 'node:util';
import { churn } from './churn.js';
import { DOCKER_HOSTS, DockerPair } from './docker-pair.js';

const USAGE = 'soak:docker [--minutes N] [--containers N] [--seed S]';

function fail(message: string): never {
  process.stderr.write(`soak:docker: ${message}\n${USAGE}\n`);
  process.exit(2);
}

function readOptions() {
  try {
    const text = { type: 'string' } as const;
    return parseArgs({ options: { minutes: text, containers: text, seed: text } }).values;
  } catch (error) {
    return fail((error as Error).message);
  }
}

function wholeNumber(name: string, text: string | undefined, otherwise: number, min: number, max: number): number {
  const number = text === undefined ? otherwise : Number(text);
  if (Number.isInteger(number) && number >= min && number <= max) return number;
  return fail(`--${name} ${text}: give a whole number from ${min} to ${max}`);
}

const values = readOptions();
const seed = wholeNumber('seed', values.seed, Math.floor(Math.random() * 2 ** 28), 0, 2 ** 28);
const minutes = wholeNumber('minutes', values.minutes, 5, 1, 10_000);
const containers = wholeNumber('containers', values.containers, 100, 4, 1000);
const print = (line: string) => process.stdout.write(`${line}\n`);
print(`seed ${seed}, ${minutes} minutes, up to ${containers} containers`);

const pair = await DockerPair.start({ suite: 'bookworm', daemonOptions: ['--docker-plugin', 'on'] });
try {
  await Promise.all(DOCKER_HOSTS.map((name) => pair.startVtepd(name)));
  const networks = ['churn_one', 'churn_two'];
  for (const network of networks) await pair.docker('a', 'network', 'create', '-d', 'vtep', network);
  await pair.waitNetworks(...networks);
  const result = await churn({ pair, networks, seconds: minutes * 60, containers, seed, print });
  const counts = `${result.actions} actions, ${result.starts} starts, ${result.pings} pings, ${result.livingMax} at once`;
  print(`nothing is left, and all was as it should be: ${counts}`);
} catch (error) {
  print((error as Error).message);
  process.exitCode = 1;
} finally {
  await pair.cleanup();
}
