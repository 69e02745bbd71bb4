/**
 * Multicast DNS (RFC 6762) on real sockets, run inside a container's namespace. Test support; no part of vtep.
 *
 *   node mdns-peer.mjs respond INTERFACE NAME ADDRESS     prints "ready", answers questions for NAME until it is killed
 *   node mdns-peer.mjs ask INTERFACE NAME                 asks once a second, prints the address that comes, as JSON
 */
import { createSocket } from 'node:dgram';
import { networkInterfaces } from 'node:os';
import { decode, encode } from 'dns-packet';

const GROUP = '224.0.0.251';
const PORT = 5353;
const [role, device, name, address] = process.argv.slice(2);
const local = networkInterfaces()[device]?.find(({ family }) => family === 'IPv4')?.address;

const socket = createSocket({ type: 'udp4', reuseAddr: true });
const send = (message) => socket.send(encode(message), PORT, GROUP);
socket.on('message', (bytes, from) => {
  const message = decode(bytes);
  if (role === 'respond' && message.type === 'query' && message.questions.some((question) => question.name === name)) {
    const flags = 0x0400;
    send({ type: 'response', flags, answers: [{ type: 'A', name, ttl: 120, data: address, flush: true }] });
  }
  if (role === 'ask' && message.type === 'response') {
    const answer = message.answers.find((record) => record.name === name && record.type === 'A');
    if (answer === undefined) return;
    process.stdout.write(`${JSON.stringify({ address: answer.data, from: from.address, port: from.port })}\n`);
    process.exit(0);
  }
});
socket.bind(PORT, () => {
  socket.addMembership(GROUP, local);
  socket.setMulticastInterface(local);
  socket.setMulticastTTL(255);
  socket.setMulticastLoopback(false);
  if (role === 'respond') process.stdout.write('ready\n');
  else {
    const ask = () => send({ type: 'query', id: 0, questions: [{ type: 'A', name }] });
    ask();
    setInterval(ask, 1000);
  }
});
