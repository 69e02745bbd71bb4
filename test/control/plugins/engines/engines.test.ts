/** Container engines: Docker's API as a server in the test speaks it, commands as scripts on the PATH, and who of them is asked. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { CommandEngine } from '../../../../src/control/plugins/engines/command-engine.js';
import { ContainerFinder } from '../../../../src/control/plugins/engines/container-finder.js';
import { DockerContainers } from '../../../../src/control/plugins/engines/docker-containers.js';

const directory = mkdtempSync(join(tmpdir(), 'vtep-engines-'));
const socket = join(directory, 'docker.sock');
const path = process.env.PATH;
let server: Server | undefined;
/** The path of each request, and how the next ones are answered. */
const asked: string[] = [];
let answer: (url: string, response: ServerResponse) => void;
const streams = new Set<ServerResponse>();

const WEB = { Id: 'f'.repeat(64), Name: '/web', State: { Running: true, Status: 'running', Pid: 4711 } };
const byName = (url: string, response: ServerResponse) => {
  const found = url === '/containers/web/json' ? WEB : undefined;
  response.writeHead(found ? 200 : 404).end(JSON.stringify(found ?? { message: 'No such container: x' }));
};

async function listen(): Promise<void> {
  const made = createServer((request, response) => {
    asked.push(request.url!);
    if (request.url!.startsWith('/events')) {
      streams.add(response.writeHead(200));
      response.flushHeaders();
    } else answer(request.url!, response);
  }).listen(socket);
  await new Promise((resolve) => made.once('listening', resolve));
  server = made;
}

async function silence(): Promise<void> {
  server?.closeAllConnections();
  await new Promise((resolve) => (server === undefined ? resolve(undefined) : server.close(resolve)));
  server = undefined;
  streams.clear();
}

function command(name: string, script: string): void {
  const file = join(directory, 'bin', name);
  writeFileSync(file, `#!/bin/sh\n${script}\n`);
  chmodSync(file, 0o755);
}

beforeAll(() => {
  mkdirSync(join(directory, 'bin'));
});
afterEach(async () => {
  await silence();
  asked.length = 0;
  process.env.PATH = path;
  rmSync(join(directory, 'bin'), { recursive: true });
  mkdirSync(join(directory, 'bin'));
});
afterAll(() => rmSync(directory, { recursive: true }));

describe("Docker's API", () => {
  const docker = new DockerContainers(socket, 20);

  it('tells what runs, what does not, and what is not there', async () => {
    answer = byName;
    expect(await docker.isPresent()).toBe(false);
    await listen();
    expect(await docker.isPresent()).toBe(true);
    const web = { engine: 'docker', id: WEB.Id, name: 'web', pid: 4711 };
    expect(await docker.inspect(['web', 'none'])).toEqual([web]);
    answer = (_, response) => response.end(JSON.stringify({ ...WEB, State: { Running: false, Pid: 0 } }));
    expect(await docker.inspect(['web'])).toEqual([{ ...web, pid: undefined }]);
    // Between two runs of its own making: it counts as running and has no process.
    answer = (_, response) =>
      response.end(JSON.stringify({ ...WEB, State: { Running: true, Restarting: true, Pid: 0 } }));
    expect(await docker.inspect(['web'])).toEqual([{ ...web, pid: undefined }]);
    expect(await docker.inspect([])).toEqual([]);
  });

  it.each<[string, (response: ServerResponse) => void, string]>([
    ['a failure of its own', (r) => r.writeHead(500).end('{"message":"no disk"}'), 'HTTP 500 no disk'],
    ['something else', (r) => r.writeHead(200).end('<html>'), 'does not answer'],
    ['nothing', (r) => r.socket!.destroy(), 'does not answer'],
  ])('%s is an error that names the socket', async (_, respond, message) => {
    await listen();
    answer = (_url, response) => respond(response);
    await expect(docker.inspect(['web'])).rejects.toMatchObject({
      ...{ code: 'VTEP_ERR_ENGINE_UNREACHABLE', message: expect.stringContaining(message) },
    });
    await expect(docker.inspect(['web'])).rejects.toThrow(socket);
  });

  it('tells of starts, and when it is not listened to; it listens again', async () => {
    const told: string[] = [];
    const watch = docker.watch({
      onListening: () => told.push('listening'),
      onLost: () => told.push('lost'),
      onStart: (name) => told.push(`start ${name}`),
    });
    const becomes = (...wanted: string[]) => vi.waitFor(() => expect(told).toEqual(wanted), { timeout: 10_000 });
    await vi.waitFor(() => expect(told).toContain('lost'), { timeout: 10_000 });
    await listen();
    await vi.waitFor(() => expect(told.at(-1)).toBe('listening'), { timeout: 10_000 });
    expect(decodeURIComponent(asked[0]!)).toMatch(
      /^\/events\?since=\d+&filters={"type":\["container"\],"event":\["start"\]}$/,
    );
    told.length = 0;
    const event = (name: string, Action = 'start') =>
      `${JSON.stringify({ Type: 'container', Action, Actor: { ID: WEB.Id, Attributes: { name } } })}\n`;
    const [stream] = streams;
    // In pieces, several at once, and what is no start.
    stream!.write(event('web').slice(0, 20));
    stream!.write([event('web').slice(20), event('db'), event('web', 'exec_start: sh'), '{"status"\n\n'].join(''));
    stream!.write(event('last'));
    await becomes('start web', 'start db', 'start last');
    told.length = 0;
    await silence();
    await vi.waitFor(() => expect(told[0]).toBe('lost'), { timeout: 10_000 });
    await listen();
    await vi.waitFor(() => expect(told.at(-1)).toBe('listening'), { timeout: 10_000 });
    watch.close();
    told.length = 0;
    for (const open of streams) open.write(event('web'));
    await silence();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(told).toEqual([]);
  });
});

describe('a command', () => {
  const podman = new CommandEngine('podman');
  const only = () => {
    process.env.PATH = `${join(directory, 'bin')}:/usr/bin:/bin`;
  };

  it('tells those that there are, also where others are not', async () => {
    const text = JSON.stringify([{ Id: 'a1', Name: 'web', State: { Status: 'running', Pid: 7 } }]);
    command('podman', `echo "$@" >&2; echo '${text}'; echo 'Error: no such container db' >&2; exit 125`);
    only();
    expect(await podman.inspect(['web', 'db'])).toEqual([{ engine: 'podman', id: 'a1', name: 'web', pid: 7 }]);
    command('podman', `echo '[]'; echo 'Error: inspecting object: no such container "db"' >&2; exit 125`);
    expect(await podman.inspect(['db'])).toEqual([]);
    command('podman', 'exit 9');
    expect(await podman.inspect([])).toEqual([]);
  });

  it('that fails is an error with its words', async () => {
    command('podman', `echo 'Error: database is locked' >&2; exit 125`);
    only();
    await expect(podman.inspect(['web'])).rejects.toMatchObject({
      code: 'VTEP_ERR_ENGINE_UNREACHABLE',
      message: 'podman (the command podman) does not answer: Error: database is locked',
    });
    command('podman', 'echo nonsense; exit 1');
    await expect(podman.inspect(['web'])).rejects.toThrow('it said nothing');
  });

  it('is present if the PATH has it', async () => {
    process.env.PATH = join(directory, 'bin');
    expect(await podman.isPresent()).toBe(false);
    command('podman', 'exit 0');
    expect(await podman.isPresent()).toBe(true);
  });
});

it('whoever has the container is asked; a silent one matters only if nobody else has it', async () => {
  const finder = ContainerFinder.ofHost(socket);
  process.env.PATH = join(directory, 'bin');
  const none = { code: 'VTEP_ERR_CONTAINER_UNKNOWN' };
  await expect(finder.find('web')).rejects.toMatchObject({ ...none, message: expect.stringContaining(socket) });
  await expect(finder.find('web', 'docker')).rejects.toMatchObject({ code: 'VTEP_ERR_ENGINE_UNREACHABLE' });
  await expect(ContainerFinder.ofHost(undefined).find('web', 'docker')).rejects.toMatchObject(none);
  await listen();
  answer = byName;
  expect(await finder.find('web')).toMatchObject({ engine: 'docker', pid: 4711 });
  process.env.PATH = `${join(directory, 'bin')}:/usr/bin:/bin`;
  command('podman', `[ "$4" = db ] && echo '[{"Id":"b2","Name":"db","State":{"Status":"running","Pid":8}}]'`);
  answer = (_, response) => response.writeHead(503).end();
  expect(await finder.find('db')).toMatchObject({ engine: 'podman', pid: 8 });
  await expect(finder.find('web')).rejects.toMatchObject({ code: 'VTEP_ERR_ENGINE_UNREACHABLE' });
});
