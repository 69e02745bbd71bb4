/**
 * Both ends of a count of overtaken datagrams, run inside a container's namespace. Test support; no part of vtep.
 *
 *   node order-peer.mjs server ADDRESS PORT              prints "ready", answers each datagram with itself and what it
 *                                                        has seen overtaken on that flow, until it is killed
 *   node order-peer.mjs client ADDRESS PORT FLOWS COUNT  COUNT numbered datagrams on each of FLOWS sockets, in bursts
 *
 * The client prints {"flows": [{"answered", "overtakenThere", "overtakenBack"}]}.
 */
import { createSocket } from 'node:dgram';
import { setTimeout as sleep } from 'node:timers/promises';

const BURST = 5;
const PAUSE_MS = 4;
const LAST_ANSWERS_MS = 500;

function serve(address, port) {
  const flows = new Map();
  const socket = createSocket('udp4');
  socket.on('message', (bytes, from) => {
    const flow = flows.get(from.port) ?? { highest: -1, overtaken: 0 };
    flows.set(from.port, flow);
    const number = bytes.readUInt32BE(0);
    if (number < flow.highest) flow.overtaken++;
    else flow.highest = number;
    bytes.writeUInt32BE(flow.overtaken, 4);
    socket.send(bytes, from.port, from.address);
  });
  socket.bind(port, address, () => process.stdout.write('ready\n'));
}

async function send(address, port, flowCount, count) {
  const flows = Array.from({ length: flowCount }, () => {
    const flow = { answered: 0, overtakenThere: 0, overtakenBack: 0 };
    const socket = createSocket('udp4');
    let highest = -1;
    socket.on('message', (bytes) => {
      const number = bytes.readUInt32BE(0);
      flow.answered++;
      flow.overtakenThere = Math.max(flow.overtakenThere, bytes.readUInt32BE(4));
      if (number < highest) flow.overtakenBack++;
      else highest = number;
    });
    return { flow, socket };
  });
  for (let first = 0; first < count; first += BURST) {
    for (const { socket } of flows) {
      for (let number = first; number < Math.min(first + BURST, count); number++) {
        const bytes = Buffer.alloc(64);
        bytes.writeUInt32BE(number, 0);
        socket.send(bytes, port, address);
      }
    }
    await sleep(PAUSE_MS);
  }
  await sleep(LAST_ANSWERS_MS);
  for (const { socket } of flows) socket.close();
  return flows.map(({ flow }) => flow);
}

const [role, address, port, flowCount, count] = process.argv.slice(2);
if (role === 'server') serve(address, Number(port));
else
  process.stdout.write(
    `${JSON.stringify({ flows: await send(address, Number(port), Number(flowCount), Number(count)) })}\n`,
  );
