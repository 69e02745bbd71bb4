/**
 * Both ends of byte-exact transfers of many shapes, run inside a container's namespace. Test support; no part of vtep.
 *
 *   node offload-peer.mjs server PORT                 prints "ready", serves TCP and UDP on all addresses until it is killed
 *   node offload-peer.mjs client PORT PLAN ADDRESS... runs the plan against each address, prints what went wrong as JSON
 *
 * The server answers a TCP stream, when the client has ended its side, with its bytes inverted, and each datagram likewise.
 * So each byte is checked in both directions. PLAN is JSON:
 *   tcp       sizes of streams in bytes
 *   urgent    whether a stream with a byte of urgent data (MSG_OOB) goes as well
 *   udp       sizes of datagrams, each sent three times in lockstep
 *   repeats   whether the path may bring a datagram again
 *   segmented {segments, bytes}: one send with UDP_SEGMENT
 */
import { createCipheriv } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect, createServer, isIPv6 } from 'node:net';
import koffi from 'koffi';

const SOL_SOCKET = 1;
const SO_OOBINLINE = 10;
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const MSG_OOB = 1;
const ANSWER_MS = 3000;
const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;

const libc = koffi.load('libc.so.6');
const setsockopt = libc.func('int setsockopt(int fd, int level, int option, _In_ int *value, unsigned int bytes)');
const send = libc.func('intptr_t send(int fd, const void *bytes, size_t count, int flags)');

/** Bytes without a pattern: AES in counter mode, as fast as memory. */
function makeBytes(count, seed) {
  const key = Buffer.alloc(16, seed);
  return createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(count));
}

function invert(bytes) {
  const inverted = Buffer.allocUnsafe(bytes.length);
  for (let i = 0; i < bytes.length; i++) inverted[i] = ~bytes[i];
  return inverted;
}

function serve(port) {
  const tcp = createServer({ allowHalfOpen: true }, (socket) => {
    setsockopt(socket._handle.fd, SOL_SOCKET, SO_OOBINLINE, [1], 4);
    const chunks = [];
    socket.on('data', (chunk) => chunks.push(invert(chunk)));
    socket.on('end', () => socket.end(Buffer.concat(chunks)));
    socket.on('error', () => socket.destroy());
  });
  const udp = createSocket({ type: 'udp6', recvBufferSize: RECEIVE_BUFFER_BYTES });
  udp.on('message', (bytes, from) => udp.send(invert(bytes), from.port, from.address));
  udp.bind(port, '::', () => tcp.listen(port, '::', () => process.stdout.write('ready\n')));
}

/** @returns what went wrong, or undefined */
function stream(address, port, byteCount, isUrgent) {
  const bytes = makeBytes(byteCount, byteCount & 0xff);
  return new Promise((resolve) => {
    const socket = connect(port, address);
    const chunks = [];
    socket.setTimeout(15_000, () => resolve(`no progress for 15 s after ${Buffer.concat(chunks).length} bytes`));
    socket.on('connect', async () => {
      if (!isUrgent) {
        socket.end(bytes);
        return;
      }
      const half = byteCount >> 1;
      socket.write(bytes.subarray(0, half), () => {
        if (send(socket._handle.fd, bytes.subarray(half, half + 1), 1, MSG_OOB) !== 1) resolve('MSG_OOB was refused');
        socket.end(bytes.subarray(half + 1));
      });
    });
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('error', (error) => resolve(error.message));
    socket.on('end', () => {
      const answer = Buffer.concat(chunks);
      socket.destroy();
      resolve(answer.equals(invert(bytes)) ? undefined : `${answer.length} of ${byteCount} bytes, not the same`);
    });
  });
}

/**
 * Sends `bytes` at once, and waits for as many answers as there are `pieces`, in any order.
 *
 * @param answered what may come again; undefined: nothing may
 */
function datagrams(socket, address, port, bytes, pieces, answered) {
  return new Promise((resolve) => {
    const wanted = pieces.map((piece) => invert(piece));
    answered?.push(...wanted);
    const end = (problem) => {
      clearTimeout(timer);
      socket.removeAllListeners('message');
      resolve(problem);
    };
    const timer = setTimeout(() => end(`${wanted.length} of ${pieces.length} answers are missing`), ANSWER_MS);
    socket.on('message', (message) => {
      const at = wanted.findIndex((piece) => piece.equals(message));
      if (at < 0 && answered?.some((piece) => piece.equals(message))) return;
      if (at < 0) return end(`a false answer of ${message.length} bytes`);
      wanted.splice(at, 1);
      if (wanted.length === 0) end(undefined);
    });
    socket.send(bytes, port, address, (error) => error && end(error.message));
  });
}

async function runPlan(address, port, plan) {
  const problems = [];
  const note = (what, problem) => problem !== undefined && problems.push(`${what} to ${address}: ${problem}`);
  for (const bytes of plan.tcp ?? []) note(`${bytes} bytes of TCP`, await stream(address, port, bytes, false));
  if (plan.urgent) note('urgent data', await stream(address, port, 20_001, true));
  const answered = plan.repeats ? [] : undefined;
  const type = isIPv6(address) ? 'udp6' : 'udp4';
  const socket = createSocket({ type, recvBufferSize: RECEIVE_BUFFER_BYTES });
  await new Promise((resolve) => socket.bind(0, resolve));
  for (const count of plan.udp ?? []) {
    for (let time = 0; time < 3; time++) {
      const bytes = makeBytes(count, time);
      note(`a datagram of ${count} bytes`, await datagrams(socket, address, port, bytes, [bytes], answered));
    }
  }
  for (const { segments, bytes } of plan.segmented ?? []) {
    setsockopt(socket._handle.fd, SOL_UDP, UDP_SEGMENT, [bytes], 4);
    // The last one is shorter.
    const all = makeBytes(segments * bytes - (bytes >> 1), segments);
    const pieces = Array.from({ length: segments }, (_, i) => all.subarray(i * bytes, (i + 1) * bytes));
    note(`${segments} segments of ${bytes} bytes`, await datagrams(socket, address, port, all, pieces, answered));
    setsockopt(socket._handle.fd, SOL_UDP, UDP_SEGMENT, [0], 4);
  }
  socket.close();
  return problems;
}

const [role, port, ...rest] = process.argv.slice(2);
if (role === 'server') {
  serve(Number(port));
} else {
  const [plan, ...addresses] = rest;
  const problems = [];
  for (const address of addresses) problems.push(...(await runPlan(address, Number(port), JSON.parse(plan))));
  process.stdout.write(`${JSON.stringify(problems)}\n`);
}
