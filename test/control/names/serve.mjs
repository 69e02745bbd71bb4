/** A names service as a process of its own, to be run in a namespace; says its status when asked by a line. Test support. */
import { createInterface } from 'node:readline';
import { pino } from 'pino';

const { NamesService } = await import(new URL('../../../dist/control/names/names-service.js', import.meta.url).href);
const { upstream, network, endpoints } = JSON.parse(process.argv[2]);
const service = new NamesService({ node: 'me', logger: pino({ level: 'silent' }), upstream });
service.networkOpened(network);
service.setLocalEndpoints(network.name, endpoints);
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'status') process.stdout.write(`${JSON.stringify(service.status())}\n`);
}
await service.close();
