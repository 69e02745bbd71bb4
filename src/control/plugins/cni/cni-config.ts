/**
 * The network configuration on standard input: vtep's own fields checked, those of others let pass. Pure.
 *
 * | field | means |
 * |---|---|
 * | name | the configuration's; also the network's, unless `network` says another |
 * | create | make the network if it is not there: with the fields of POST /v1/networks that stand beside it |
 * | ip, ips, mac | as asked for by `runtimeConfig`, else `args.cni`, else CNI_ARGS, else by these fields |
 * | defaultRoute, group | as those of POST /v1/endpoints |
 * | publishPorts | vtep publishes `runtimeConfig.portMappings` itself. @default false: portmap does, later in the chain |
 * | dns | as the container gets it, field by field in the place of what vtep knows |
 */
import { z } from 'zod';
import { checkInput } from '../../api/check-input.js';
import type { PublishedPort } from '../../api/publish-schema.js';
import { attachSchema, type CreateNetwork, createNetworkSchema, nameSchema } from '../../api/schema.js';
import { parseArgs } from './cni-call.js';
import { CniError } from './cni-error.js';

export interface Dns {
  readonly nameservers?: readonly string[] | undefined;
  readonly domain?: string | undefined;
  readonly search?: readonly string[] | undefined;
  readonly options?: readonly string[] | undefined;
}

/** What ADD goes by. */
export interface CniConfig {
  readonly name: string;
  readonly network: string;
  /** What the network is made with if it is not there; undefined: it is not made. */
  readonly create: CreateNetwork | undefined;
  readonly ips: readonly string[] | undefined;
  readonly mac: string | undefined;
  readonly endpointName: string;
  readonly defaultRoute: 'yes' | 'no' | 'auto' | undefined;
  readonly group: number | undefined;
  readonly publish: readonly PublishedPort[] | undefined;
  readonly dns: Dns;
}

const TEXTS_RULE = 'must be a list of texts';
const texts = z.array(z.string(TEXTS_RULE), TEXTS_RULE);
const YES_NO_RULE = 'must be true or false';
const OBJECT_RULE = 'must be an object';
const PORT_RULE = 'must be a port from 1 to 65535';
const port = z.number(PORT_RULE).int(PORT_RULE).min(1, PORT_RULE).max(65_535, PORT_RULE);
const dnsSchema = z.looseObject(
  {
    nameservers: texts.optional(),
    domain: z.string('must be a text').optional(),
    search: texts.optional(),
    /** As the capability "dns" calls it. */
    searches: texts.optional(),
    options: texts.optional(),
  },
  OBJECT_RULE,
);

const configSchema = z.looseObject({
  name: nameSchema,
  network: nameSchema.optional(),
  create: z.boolean(YES_NO_RULE).optional(),
  ip: z.string('must be an address').optional(),
  ips: texts.optional(),
  mac: z.string('must be a MAC address').optional(),
  defaultRoute: z
    .union([z.boolean(), z.enum(['yes', 'no', 'auto'])], 'must be true, false, "yes", "no" or "auto"')
    .optional(),
  group: attachSchema.in.shape.group,
  publishPorts: z.boolean(YES_NO_RULE).optional(),
  dns: dnsSchema.optional(),
  ipam: z.looseObject({ type: z.string('must be a text').optional() }, OBJECT_RULE).optional(),
  args: z
    .looseObject({ cni: z.looseObject({ ips: texts.optional(), mac: z.string().optional() }).optional() }, OBJECT_RULE)
    .optional(),
  runtimeConfig: z
    .looseObject(
      {
        ips: texts.optional(),
        mac: z.string('must be a MAC address').optional(),
        dns: dnsSchema.optional(),
        portMappings: z
          .array(
            z.looseObject({
              hostPort: port,
              containerPort: port,
              protocol: z.string('must be tcp or udp').optional(),
              hostIP: z.string('must be an address').optional(),
            }),
          )
          .optional(),
      },
      OBJECT_RULE,
    )
    .optional(),
});
type Raw = z.infer<typeof configSchema>;

/** All that a DEL needs: whoever removes is not hindered by what else is wrong. @throws CniError code 7 */
export function checkName(config: unknown): string {
  return checkInput(z.looseObject({ name: nameSchema }), config).name;
}

/** @throws CniError codes 2, 4; VtepError VTEP_ERR_INVALID, which is code 7, with the field's name */
export function checkConfig(config: unknown, argsText: string | undefined, containerId: string): CniConfig {
  const raw = checkInput(configSchema, config);
  if (raw.ipam?.type !== undefined && raw.ipam.type !== '') {
    const text = `ipam.type "${raw.ipam.type}": the network's addresses are given by vtep, so ipam must be left out`;
    throw new CniError('unsupportedField', text, 'ipam.type');
  }
  const args = parseArgs(argsText);
  const network = raw.network ?? raw.name;
  return {
    name: raw.name,
    network,
    create: raw.create === true ? checkInput(createNetworkSchema, { ...networkFields(raw), name: network }) : undefined,
    ips: wantedIps(raw, args),
    mac: raw.runtimeConfig?.mac ?? raw.args?.cni?.mac ?? args.get('MAC') ?? raw.mac,
    endpointName: endpointName(args, containerId),
    defaultRoute: typeof raw.defaultRoute === 'boolean' ? (raw.defaultRoute ? 'yes' : 'no') : raw.defaultRoute,
    group: raw.group,
    publish: raw.publishPorts === true ? publishedPorts(raw) : undefined,
    dns: dnsOf(raw),
  };
}

/** Those of POST /v1/networks by their own names. `group` is the container's here, not the underlay's multicast group. */
function networkFields(raw: Raw): Record<string, unknown> {
  const known = Object.keys(createNetworkSchema.in.shape).filter((field) => field !== 'name' && field !== 'group');
  return Object.fromEntries(known.filter((field) => raw[field] !== undefined).map((field) => [field, raw[field]]));
}

/** The order is that of the static plugin. A prefix length may stand there: the network's own is what holds. */
function wantedIps(raw: Raw, args: ReadonlyMap<string, string>): string[] | undefined {
  const fromArgs = args.get('IP')?.split(',');
  const own = raw.ips ?? (raw.ip === undefined ? undefined : [raw.ip]);
  const given = [raw.runtimeConfig?.ips, raw.args?.cni?.ips, fromArgs, own].find((ips) => (ips?.length ?? 0) > 0);
  return given?.map((ip) => ip.trim().replace(/\/\d{1,3}$/, ''));
}

/** A pod's is `NAME.NAMESPACE`, podman's the container's own; else the container's id. As long as an endpoint's may be. */
function endpointName(args: ReadonlyMap<string, string>, containerId: string): string {
  const pod = args.get('K8S_POD_NAME');
  const namespace = args.get('K8S_POD_NAMESPACE');
  const full = pod === undefined || pod === '' ? containerId.slice(0, 12) : namespace ? `${pod}.${namespace}` : pod;
  const fit = full.replace(/[^a-zA-Z0-9_.-]/g, '-').replace(/^[^a-zA-Z0-9]+/, '');
  return fit.slice(0, 63).replace(/[.-]+$/, '') || containerId.slice(0, 12);
}

function publishedPorts(raw: Raw): PublishedPort[] {
  return (raw.runtimeConfig?.portMappings ?? []).map((mapping) => {
    const { hostPort, containerPort, protocol = 'tcp', hostIP = '' } = mapping;
    const name = protocol.toLowerCase();
    if (name !== 'tcp' && name !== 'udp') {
      const text = `runtimeConfig.portMappings: protocol "${protocol}" can't be published: must be tcp or udp`;
      throw new CniError('unsupportedField', text, 'runtimeConfig.portMappings');
    }
    const everywhere = ['', '0.0.0.0', '::'].includes(hostIP);
    return { protocol: name, hostPort, containerPort, ...(everywhere ? {} : { hostAddress: hostIP }) };
  });
}

function dnsOf({ dns = {}, runtimeConfig }: Raw): Dns {
  const dynamic = runtimeConfig?.dns;
  return {
    nameservers: dynamic?.nameservers ?? dns.nameservers,
    domain: dns.domain,
    search: dynamic?.searches ?? dynamic?.search ?? dns.search,
    options: dynamic?.options ?? dns.options,
  };
}
