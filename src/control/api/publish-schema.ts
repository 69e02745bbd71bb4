/**
 * Published ports in the API: `[HOST-ADDRESS:]HOST-PORT:CONTAINER-PORT[/tcp|udp]` as text, or the same as an object. An
 * IPv6 address stands in brackets.
 */
import { isIP, isIPv6 } from 'node:net';
import { z } from 'zod';

const RULE =
  'must be [ADDRESS:]HOST-PORT:CONTAINER-PORT[/tcp|udp] with ports from 1 to 65535, such as 8080:80, 192.0.2.1:53:53/udp or [2001:db8::1]:8080:80';
const FORM = /^(?:(\[[0-9a-fA-F:.]+\]|[0-9.]+):)?(\d{1,5}):(\d{1,5})(?:\/(tcp|udp))?$/;

const port = z.number(RULE).int(RULE).min(1, RULE).max(65_535, RULE);

export const publishedPortSchema = z.strictObject({
  protocol: z.enum(['tcp', 'udp'], RULE),
  /** Absent: each address of the host. */
  hostAddress: z
    .string(RULE)
    .refine((address) => isIP(address) !== 0, RULE)
    .optional(),
  hostPort: port,
  containerPort: port,
});
export type PublishedPort = z.infer<typeof publishedPortSchema>;

const publishTextSchema = z
  .string(RULE)
  .transform((text, context) => {
    const parsed = parsePublish(text);
    if (parsed !== undefined) return parsed;
    context.addIssue({ code: 'custom', message: `${RULE}, not "${text}"` });
    return z.NEVER;
  })
  .pipe(publishedPortSchema);

export const publishSchema = z.array(z.union([publishedPortSchema, publishTextSchema], RULE)).max(256);

function parsePublish(text: string): PublishedPort | undefined {
  const match = FORM.exec(text);
  if (match === null) return undefined;
  const [, bracketed, hostPort, containerPort, protocol = 'tcp'] = match;
  const hostAddress = bracketed?.replace(/^\[|\]$/g, '');
  if (hostAddress !== undefined && isIPv6(hostAddress) !== bracketed?.startsWith('[')) return undefined;
  return {
    protocol: protocol as PublishedPort['protocol'],
    ...(hostAddress === undefined ? {} : { hostAddress }),
    hostPort: Number(hostPort),
    containerPort: Number(containerPort),
  };
}

/** As people write it. */
export function publishText({ protocol, hostAddress, hostPort, containerPort }: PublishedPort): string {
  const address = hostAddress === undefined ? '' : `${hostAddress.includes(':') ? `[${hostAddress}]` : hostAddress}:`;
  return `${address}${hostPort}:${containerPort}/${protocol}`;
}
