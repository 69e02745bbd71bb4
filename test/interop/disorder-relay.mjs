/**
 * A VTEP's address that hands datagrams on between two VTEPs out of order, late, and some twice: what netem does, for
 * kernels without it. Test support; no part of vtep.
 *
 *   node disorder-relay.mjs ADDRESS PORT LEFT-ADDRESS LEFT-PORT RIGHT-ADDRESS RIGHT-PORT     prints "ready"
 *
 * Of a hundred datagrams a quarter waits for 2 ms, one for 20 ms, and one goes twice.
 */
import { createSocket } from 'node:dgram';

const BUFFER_BYTES = 4 * 1024 * 1024;
const [address, port, leftAddress, leftPort, rightAddress, rightPort] = process.argv.slice(2);

/** Lehmer's generator: the same disorder each time. */
let state = 7;
function percent() {
  state = (state * 48_271) % 0x7fff_ffff;
  return state % 100;
}

const socket = createSocket({ type: 'udp4', recvBufferSize: BUFFER_BYTES, sendBufferSize: BUFFER_BYTES });
socket.on('message', (bytes, from) => {
  const [toAddress, toPort] = from.address === leftAddress ? [rightAddress, rightPort] : [leftAddress, leftPort];
  const send = () => socket.send(bytes, Number(toPort), toAddress);
  const lot = percent();
  if (lot < 25) setTimeout(send, 2);
  else if (lot === 25) setTimeout(send, 20);
  else send();
  if (lot === 26) send();
});
socket.bind(Number(port), address, () => process.stdout.write('ready\n'));
