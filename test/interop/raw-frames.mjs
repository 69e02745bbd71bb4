/**
 * Sends frames as they are from an interface, each behind a virtio header, so that a superframe goes out unsegmented.
 * Test support; no part of vtep.
 *
 *   node raw-frames.mjs INTERFACE-INDEX HEX...
 *   node raw-frames.mjs                          reads lines `INTERFACE-INDEX HEX`, answers each: `sent` or `errno N`
 */
import { createInterface } from 'node:readline';
import koffi from 'koffi';

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOL_PACKET = 263;
const PACKET_VNET_HDR = 15;
const SOCKADDR_LL_BYTES = 20;

const libc = koffi.load('libc.so.6');
const socket = libc.func('int socket(int family, int type, int protocol)');
const setsockopt = libc.func('int setsockopt(int fd, int level, int option, _In_ int *value, unsigned int bytes)');
const sendto = libc.func(
  'intptr_t sendto(int fd, const void *bytes, size_t count, int flags, const void *address, unsigned int addressBytes)',
);

const must = (what, answer) => {
  if (answer < 0) throw new Error(`${what}: errno ${koffi.errno()}`);
};

const fd = socket(AF_PACKET, SOCK_RAW, 0);
must('socket', fd);
must('PACKET_VNET_HDR', setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, [1], 4));

function send(index, message) {
  const address = Buffer.alloc(SOCKADDR_LL_BYTES);
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeInt32LE(Number(index), 4);
  const bytes = Buffer.from(message, 'hex');
  return sendto(fd, bytes, bytes.length, 0, address, SOCKADDR_LL_BYTES);
}

const [index, ...messages] = process.argv.slice(2);
for (const message of messages) must('send', send(index, message));
if (index === undefined) {
  process.stdout.write('ready\n');
  for await (const line of createInterface({ input: process.stdin })) {
    const [to, message] = line.split(' ');
    process.stdout.write(send(to, message) < 0 ? `errno ${koffi.errno()}\n` : 'sent\n');
  }
}
