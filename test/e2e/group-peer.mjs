/**
 * Sends or receives UDP to broadcast and multicast addresses, in a container.
 *
 *     send ADDRESS PORT COUNT [SOURCE]       datagrams of one size, each with its number; prints how many were sent
 *     stream ADDRESS PORT RATE               as many a second until SIGTERM, then prints how many were sent
 *     receive ADDRESS PORT [INTERFACE-ADDRESS]  joins ADDRESS if it is a group; prints "ready", then each number
 */
import { createSocket } from 'node:dgram';
import { isIPv6 } from 'node:net';

const [, , role, address, port, extra] = process.argv;
const socket = createSocket({ type: isIPv6(address) ? 'udp6' : 'udp4', reuseAddr: true });
const isGroup = isIPv6(address)
  ? address.startsWith('ff')
  : Number(address.split('.')[0]) >= 224 && !address.startsWith('255.');
const PAYLOAD_BYTES = 400;

if (role === 'send') {
  const count = Number(extra);
  const source = process.argv[6];
  socket.bind(0, async () => {
    if (!isIPv6(address)) socket.setBroadcast(true);
    if (isGroup) {
      socket.setMulticastTTL(4);
      if (source !== undefined) socket.setMulticastInterface(source);
    }
    for (let i = 0; i < count; i++) {
      const text = `${i} `.padEnd(PAYLOAD_BYTES, '.');
      await new Promise((resolve, reject) => {
        socket.send(text, Number(port), address, (error) => (error ? reject(error) : resolve()));
      });
    }
    console.log(`sent ${count}`);
    socket.close();
  });
} else if (role === 'stream') {
  socket.bind(0, () => {
    socket.setBroadcast(true);
    let count = 0;
    setInterval(
      () => socket.send(`${count++} `.padEnd(PAYLOAD_BYTES, '.'), Number(port), address),
      1000 / Number(extra),
    );
    process.on('SIGTERM', () => {
      console.log(`sent ${count}`);
      process.exit(0);
    });
  });
} else {
  socket.on('message', (message) => console.log(message.toString().split(' ')[0]));
  socket.bind(Number(port), () => {
    if (isGroup) socket.addMembership(address, extra);
    console.log('ready');
  });
  process.on('SIGTERM', () => process.exit(0));
}
