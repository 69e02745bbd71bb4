/** `docker run -p`: what Docker tells a driver of published ports. Control plane; pure. */
import { z } from 'zod';
import { VtepError } from '../../errors.js';
import type { WantedPort } from '../../gateway/free-ports.js';

const KEY = 'com.docker.network.portmap';
const PROTOCOLS: Readonly<Record<number, 'tcp' | 'udp'>> = { 6: 'tcp', 17: 'udp' };
const SCTP = 132;
const ANY_ADDRESS = new Set(['', '0.0.0.0', '::']);

const portNumber = z.number().int().min(0).max(65_535);
const bindingSchema = z.object({
  Proto: z.number(),
  Port: portNumber,
  HostIP: z.string().nullish(),
  HostPort: portNumber.nullish(),
  HostPortEnd: portNumber.nullish(),
});
const bindingsSchema = z.array(bindingSchema);

/** @returns undefined if the options say nothing of ports. @throws VtepError VTEP_ERR_INVALID */
export function readPortMap(options: Readonly<Record<string, unknown>>): WantedPort[] | undefined {
  const given = options[KEY];
  if (given === undefined || given === null) return undefined;
  const parsed = bindingsSchema.safeParse(given);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new VtepError('VTEP_ERR_INVALID', `${KEY}: ${issue?.path.join('.')} ${issue?.message}`);
  }
  return parsed.data.map(({ Proto, Port, HostIP, HostPort, HostPortEnd }) => {
    const protocol = PROTOCOLS[Proto];
    if (protocol === undefined) {
      const name = Proto === SCTP ? 'sctp' : `IP protocol ${Proto}`;
      throw new VtepError('VTEP_ERR_INVALID', `port ${Port}: ${name} can't be published by vtep: publish tcp or udp`);
    }
    const first = HostPort ?? 0;
    return {
      protocol,
      containerPort: Port,
      ...(ANY_ADDRESS.has(HostIP ?? '') ? {} : { hostAddress: HostIP! }),
      // 0: whichever is free.
      ...(first === 0 ? {} : { hostPorts: { first, last: Math.max(first, HostPortEnd ?? 0) } }),
    };
  });
}
