/** A resolver of a host, for tests in namespaces: www.example, long.example (too long for UDP), and nothing else. Test support. */
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { decode, encode, streamDecode, streamEncode } from 'dns-packet';

const { address, port } = JSON.parse(process.argv[2]);
const NXDOMAIN = 3;
const TC = 0x0200;

function respond(query, transport) {
  const { name, type } = query.questions[0];
  const answer = { type: 'response', id: query.id, flags: 0x0180, questions: query.questions, answers: [] };
  const add = (data) => answer.answers.push({ type: 'A', name, ttl: 60, data });
  if (type === 'A' && name === 'www.example') add('192.0.2.80');
  else if (type === 'A' && name === 'long.example') {
    if (transport === 'udp') answer.flags |= TC;
    else for (let i = 0; i < 100; i++) add(`192.0.2.${i}`);
  } else answer.flags |= NXDOMAIN;
  return answer;
}

const udp = createSocket('udp4');
udp.on('message', (bytes, from) => udp.send(encode(respond(decode(bytes), 'udp')), from.port, from.address));
udp.bind(port, address);
createServer((socket) => {
  socket.on('error', () => socket.destroy());
  socket.once('data', (bytes) => socket.end(streamEncode(respond(streamDecode(bytes), 'tcp'))));
}).listen(port, address);
