/**
 * Both ends of a byte-exact transfer, run inside a container's namespace. Test support; no part of vtep.
 *
 *   node byte-peer.mjs server ADDRESS PORT            prints "ready", serves TCP and UDP until it is killed
 *   node byte-peer.mjs client tcp ADDRESS PORT BYTES [DATAGRAM-BYTES]
 *   node byte-peer.mjs client udp ADDRESS PORT BYTES [DATAGRAM-BYTES]
 *
 * The server answers every TCP stream (when the client has ended its side) and every datagram with the bytes that it
 * got, and their SHA-256 goes first. The client compares both, so each byte is checked in both directions. It prints
 * {"sentBytes", "answeredBytes", "exact", "lostDatagrams"}. UDP goes in lockstep: a lost datagram is a lost datagram,
 * never a full queue.
 */
import { createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect, createServer, isIPv6 } from 'node:net';

const HASH_BYTES = 32;
const ANSWER_TIMEOUT_MS = 2000;

const sha256 = (bytes) => createHash('sha256').update(bytes).digest();

/** Bytes without a pattern that a shifted or repeated piece would reproduce: xorshift32 from a seed. */
function makeBytes(count, seed) {
  const bytes = Buffer.alloc(count);
  let state = seed | 1;
  for (let i = 0; i < count; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[i] = state;
  }
  return bytes;
}

function serve(address, port) {
  const tcp = createServer({ allowHalfOpen: true }, (socket) => {
    const chunks = [];
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('end', () => {
      const bytes = Buffer.concat(chunks);
      socket.end(Buffer.concat([sha256(bytes), bytes]));
    });
    socket.on('error', () => socket.destroy());
  });
  const udp = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
  udp.on('message', (bytes, from) => udp.send(Buffer.concat([sha256(bytes), bytes]), from.port, from.address));
  udp.bind(port, address, () => tcp.listen(port, address, () => process.stdout.write('ready\n')));
}

const isAnswerTo = (answer, bytes) =>
  answer.subarray(0, HASH_BYTES).equals(sha256(bytes)) && answer.subarray(HASH_BYTES).equals(bytes);

function sendTcp(address, port, byteCount) {
  const bytes = makeBytes(byteCount, byteCount + port);
  return new Promise((resolve, reject) => {
    const socket = connect(port, address);
    const chunks = [];
    socket.setTimeout(20_000, () => socket.destroy(new Error('no progress for 20 s')));
    socket.on('connect', () => socket.end(bytes));
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('error', reject);
    socket.on('end', () => {
      const answer = Buffer.concat(chunks);
      resolve({
        sentBytes: byteCount,
        answeredBytes: answer.length - HASH_BYTES,
        exact: isAnswerTo(answer, bytes),
        lostDatagrams: 0,
      });
    });
  });
}

async function sendUdp(address, port, byteCount, datagramBytes) {
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
  const result = { sentBytes: 0, answeredBytes: 0, exact: true, lostDatagrams: 0 };
  for (let offset = 0; offset < byteCount; offset += datagramBytes) {
    const bytes = makeBytes(Math.min(datagramBytes, byteCount - offset), offset + port);
    const answer = await new Promise((resolve, reject) => {
      const timer = setTimeout(resolve, ANSWER_TIMEOUT_MS);
      socket.once('message', (message) => {
        clearTimeout(timer);
        resolve(message);
      });
      socket.send(bytes, port, address, (error) => error && reject(error));
    });
    socket.removeAllListeners('message');
    result.sentBytes += bytes.length;
    if (answer === undefined) {
      result.lostDatagrams++;
    } else {
      result.answeredBytes += answer.length - HASH_BYTES;
      result.exact &&= isAnswerTo(answer, bytes);
    }
  }
  socket.close();
  return result;
}

const [role, ...rest] = process.argv.slice(2);
if (role === 'server') {
  serve(rest[0], Number(rest[1]));
} else {
  const [protocol, address, port, byteCount, datagramBytes = '1400'] = rest;
  const result =
    protocol === 'tcp'
      ? await sendTcp(address, Number(port), Number(byteCount))
      : await sendUdp(address, Number(port), Number(byteCount), Number(datagramBytes));
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
