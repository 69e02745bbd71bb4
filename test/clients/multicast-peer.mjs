/**
 * Both ends of a multicast stream, run inside a container's namespace. Test support; no part of vtep.
 *
 *   node multicast-peer.mjs receive INTERFACE GROUP PORT         joins, prints "ready", then a line for each stream: its
 *                                                                name, how many numbers came, how many came again
 *   node multicast-peer.mjs listen  INTERFACE GROUP PORT         the same without joining
 *   node multicast-peer.mjs send    INTERFACE GROUP PORT STREAM COUNT BYTES
 *
 * A datagram is the stream's name, its number and a payload that follows from the number; a wrong payload is counted as
 * none. The last datagram of a stream is sent until the receivers must have it, and tells them to print.
 */
import { createSocket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

const LASTS = 5;
const PACE = 20;
const [role, device, group, port, stream, count, bytes] = process.argv.slice(2);
const family = isIPv6(group) ? 6 : 4;
const local = networkInterfaces()[device]?.find((address) => address.family === `IPv${family}`)?.address;
const by = family === 6 ? `::%${device}` : local;

function datagram(name, number, total, byteCount) {
  const body = Buffer.alloc(byteCount, number & 0xff);
  body.write(`${name} ${number} ${total} `);
  return body;
}

function isWhole(body) {
  const [name, number, total] = body.toString('latin1', 0, 64).split(' ');
  return body.equals(datagram(name, Number(number), Number(total), body.length)) ? { name, number, total } : undefined;
}

const socket = createSocket({ type: `udp${family}`, reuseAddr: true, recvBufferSize: 1 << 20 });
if (role === 'send') {
  await new Promise((resolve) => socket.bind(0, resolve));
  socket.setMulticastInterface(by);
  socket.setMulticastLoopback(false);
  const send = (body) => new Promise((resolve) => socket.send(body, Number(port), group, resolve));
  for (let number = 0; number < Number(count); number++) {
    await send(datagram(stream, number, Number(count), Number(bytes)));
    if (number % PACE === PACE - 1) await sleep(1);
  }
  for (let last = 0; last < LASTS; last++) {
    await sleep(20);
    await send(datagram(stream, Number(count), Number(count), Number(bytes)));
  }
  socket.close();
} else {
  const streams = new Map();
  socket.on('message', (body) => {
    const part = isWhole(body);
    if (part === undefined) return;
    const seen = streams.get(part.name) ?? { numbers: new Set(), again: 0, isSaid: false };
    streams.set(part.name, seen);
    if (part.number !== part.total) {
      if (seen.numbers.has(part.number)) seen.again++;
      seen.numbers.add(part.number);
    } else if (!seen.isSaid) {
      seen.isSaid = true;
      process.stdout.write(`${part.name} ${seen.numbers.size} ${seen.again}\n`);
    }
  });
  socket.bind(Number(port), () => {
    if (role === 'receive') socket.addMembership(group, by);
    process.stdout.write('ready\n');
  });
}
