/**
 * What dockerd asks a plugin, as zod schemas: the fields that are used, of which Docker leaves out or sends as null what it
 * likes; what else there is is ignored. Control plane; pure.
 */
import { z } from 'zod';

/** Docker's identifiers, 64 hexadecimal digits. They become parts of keys, so nothing else is let in. */
const ID_RULE = 'must be an identifier of Docker: 1 to 128 letters, digits, "_", "." or "-"';
const identifier = z.string(ID_RULE).regex(/^[a-zA-Z0-9_.-]{1,128}$/, ID_RULE);
const text = z
  .string()
  .nullish()
  .transform((value) => value ?? '');
const texts = z
  .record(z.string(), z.string())
  .nullish()
  .transform((value) => value ?? {});
const options = z
  .record(z.string(), z.unknown())
  .nullish()
  .transform((value) => value ?? {});

const ipamData = z.object({ AddressSpace: text, Pool: text, Gateway: text, AuxAddresses: options });
const ipamList = z
  .array(ipamData)
  .nullish()
  .transform((value) => value ?? []);
export type IpamData = z.infer<typeof ipamData>;

export const nothing = z.unknown();
export const createNetwork = z.object({
  NetworkID: identifier,
  Options: options,
  IPv4Data: ipamList,
  IPv6Data: ipamList,
});
export type CreateNetworkCall = z.infer<typeof createNetwork>;
export const networkOnly = z.object({ NetworkID: identifier });
export const createEndpoint = z.object({
  NetworkID: identifier,
  EndpointID: identifier,
  Interface: z
    .object({ Address: text, AddressIPv6: text, MacAddress: text })
    .nullish()
    .transform((value) => value ?? { Address: '', AddressIPv6: '', MacAddress: '' }),
  Options: options,
});
export type CreateEndpointCall = z.infer<typeof createEndpoint>;
export const endpointOnly = z.object({ NetworkID: identifier, EndpointID: identifier });
export const join = endpointOnly.extend({ SandboxKey: text, Options: options });
export const external = endpointOnly.extend({ Options: options });

export const requestPool = z.object({
  AddressSpace: text,
  Pool: text,
  SubPool: text,
  Options: texts,
  V6: z
    .boolean()
    .nullish()
    .transform((value) => value ?? false),
});
export type RequestPoolCall = z.infer<typeof requestPool>;
export const poolOnly = z.object({ PoolID: z.string() });
export const requestAddress = z.object({ PoolID: z.string(), Address: text, Options: texts });
export type RequestAddressCall = z.infer<typeof requestAddress>;
export const releaseAddress = z.object({ PoolID: z.string(), Address: text });

/** What the answer of Join says. */
export interface JoinAnswer {
  readonly InterfaceName: { readonly SrcName: string; readonly DstPrefix: string };
  readonly Gateway?: string;
  readonly GatewayIPv6?: string;
  /** Else Docker connects the container to docker_gwbridge besides. */
  readonly DisableGatewayService: boolean;
}
