/**
 * Sends frames as they are from an interface, each behind a virtio header, so that a superframe goes out unsegmented.
 * Test support; no part of vtep.
 *
 *   node raw-frames.mjs INTERFACE-INDEX HEX...
 */
import koffi from 'koffi';

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOL_PACKET = 263;
const PACKET_VNET_HDR = 15;
const SOCKADDR_LL_BYTES = 20;

const libc = koffi.load('libc.so.6');
const socket = libc.func('int socket(int family, int type, int protocol)');
const bind = libc.func('int bind(int fd, const void *address, unsigned int bytes)');
const setsockopt = libc.func('int setsockopt(int fd, int level, int option, _In_ int *value, unsigned int bytes)');
const send = libc.func('intptr_t send(int fd, const void *bytes, size_t count, int flags)');

const must = (what, answer) => {
  if (answer < 0) throw new Error(`${what}: errno ${koffi.errno()}`);
  return answer;
};

const [index, ...messages] = process.argv.slice(2);
const fd = must('socket', socket(AF_PACKET, SOCK_RAW, 0));
must('PACKET_VNET_HDR', setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, [1], 4));
const address = Buffer.alloc(SOCKADDR_LL_BYTES);
address.writeUInt16LE(AF_PACKET, 0);
address.writeInt32LE(Number(index), 4);
must('bind', bind(fd, address, SOCKADDR_LL_BYTES));
for (const message of messages) {
  const bytes = Buffer.from(message, 'hex');
  must('send', send(fd, bytes, bytes.length, 0));
}
