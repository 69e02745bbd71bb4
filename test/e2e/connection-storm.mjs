/**
 * Both ends of many short TCP connections, run inside a container's namespace. Test support; no part of vtep.
 *
 *   node connection-storm.mjs server ADDRESS PORT                       prints "ready", echoes each connection
 *   node connection-storm.mjs client ADDRESS PORT PER-SECOND SECONDS    each sends some bytes, wants them back, and ends
 *
 * The client prints {"opened", "answered", "failures": {REASON: COUNT}, "slowestMs"}.
 */
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const TICK_MS = 10;
const ANSWER_MS = 15_000;

function serve(address, port) {
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.pipe(socket);
  });
  server.listen({ port, host: address, backlog: 4096 }, () => process.stdout.write('ready\n'));
}

const result = { opened: 0, answered: 0, failures: {}, slowestMs: 0 };
let open = 0;

function visit(address, port) {
  const number = result.opened++;
  const sent = Buffer.alloc(1 + (number % 3000), number);
  const started = performance.now();
  const chunks = [];
  open++;
  const end = (failure) => {
    if (failure === undefined) result.answered++;
    else result.failures[failure] = (result.failures[failure] ?? 0) + 1;
    result.slowestMs = Math.max(result.slowestMs, Math.round(performance.now() - started));
    open--;
  };
  let failure;
  const socket = connect(port, address, () => socket.end(sent));
  socket.setTimeout(ANSWER_MS, () => socket.destroy(new Error('no answer')));
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.on('error', (error) => {
    failure = error.code ?? error.message;
  });
  socket.on('close', () => end(failure ?? (Buffer.concat(chunks).equals(sent) ? undefined : 'other bytes')));
}

async function storm(address, port, perSecond, seconds) {
  const started = performance.now();
  for (let elapsed = 0; elapsed < seconds * 1000; elapsed = performance.now() - started) {
    const due = Math.floor((elapsed / 1000) * perSecond);
    while (result.opened < due) visit(address, port);
    await sleep(TICK_MS);
  }
  while (open > 0) await sleep(TICK_MS);
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

const [role, address, port, perSecond, seconds] = process.argv.slice(2);
if (role === 'server') serve(address, Number(port));
else await storm(address, Number(port), Number(perSecond), Number(seconds));
