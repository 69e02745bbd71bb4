/**
 * Prints each frame that an interface receives, as a line of hexadecimal, after a line `ready`. Test support; no part of
 * vtep.
 *
 *   node frame-listener.mjs INTERFACE-INDEX
 */
import { writeSync } from 'node:fs';
import koffi from 'koffi';

const AF_PACKET = 17;
const SOCK_RAW = 3;
const ETH_P_ALL_BE = 0x0300;
const PACKET_OUTGOING = 4;
const SOCKADDR_LL_BYTES = 20;
const PACKET_TYPE_OFFSET = 10;

const libc = koffi.load('libc.so.6');
const socket = libc.func('int socket(int family, int type, int protocol)');
const bind = libc.func('int bind(int fd, const void *address, unsigned int bytes)');
const receive = libc.func(
  'intptr_t recvfrom(int fd, void *bytes, size_t count, int flags, void *address, _Inout_ unsigned int *addressBytes)',
);

const must = (what, answer) => {
  if (answer < 0) throw new Error(`${what}: errno ${koffi.errno()}`);
  return answer;
};

const fd = must('socket', socket(AF_PACKET, SOCK_RAW, 0));
const address = Buffer.alloc(SOCKADDR_LL_BYTES);
address.writeUInt16LE(AF_PACKET, 0);
address.writeUInt16LE(ETH_P_ALL_BE, 2);
address.writeInt32LE(Number(process.argv[2]), 4);
must('bind', bind(fd, address, SOCKADDR_LL_BYTES));
writeSync(1, 'ready\n');
const frame = Buffer.alloc(65536);
for (;;) {
  const bytes = receive(fd, frame, frame.length, 0, address, [SOCKADDR_LL_BYTES]);
  // The interface is gone.
  if (bytes < 0) break;
  if (address[PACKET_TYPE_OFFSET] !== PACKET_OUTGOING) writeSync(1, `${frame.toString('hex', 0, bytes)}\n`);
}
