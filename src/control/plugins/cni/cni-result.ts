/**
 * Results of ADD in the form of each version, and what CHECK and a chain bring back of them (prevResult). Pure.
 *
 * | | 0.3, 0.4 | 1.0 | 1.1 |
 * |---|---|---|---|
 * | ips | with `version` "4" or "6" | without | without |
 * | interfaces | name, mac, sandbox | the same | and mtu |
 *
 * Order of the interfaces: the bridge, the host's end of the veth (by which bandwidth finds it), the container's.
 */
import { z } from 'zod';
import { checkInput } from '../../api/check-input.js';
import type { Version } from './cni-call.js';
import type { Dns } from './cni-config.js';

export interface ResultInterface {
  readonly name: string;
  readonly mac?: string | undefined;
  readonly mtu?: number | undefined;
  /** Path of the namespace; absent: the host's. */
  readonly sandbox?: string | undefined;
}

export interface ResultIp {
  /** With prefix length. */
  readonly address: string;
  readonly gateway?: string | undefined;
  /** Index into the interfaces. */
  readonly interface?: number | undefined;
}

export interface ResultRoute {
  readonly dst: string;
  readonly gw?: string | undefined;
}

export interface CniResult {
  readonly interfaces: readonly ResultInterface[];
  readonly ips: readonly ResultIp[];
  readonly routes: readonly ResultRoute[];
  readonly dns: Dns;
}

const prevResultSchema = z.looseObject({
  interfaces: z
    .array(
      z.looseObject({
        name: z.string(),
        mac: z.string().optional(),
        mtu: z.number().optional(),
        sandbox: z.string().optional(),
      }),
    )
    .nullish(),
  ips: z
    .array(z.looseObject({ address: z.string(), gateway: z.string().optional(), interface: z.number().nullish() }))
    .nullish(),
  routes: z.array(z.looseObject({ dst: z.string(), gw: z.string().optional() })).nullish(),
  dns: z.looseObject({}).nullish(),
});

/** Of whichever version: what they share. @throws VtepError VTEP_ERR_INVALID */
export function parsePrevResult(input: unknown): CniResult {
  const { prevResult } = checkInput(z.looseObject({ prevResult: prevResultSchema }), { prevResult: input });
  return {
    interfaces: prevResult.interfaces ?? [],
    ips: (prevResult.ips ?? []).map((ip) => ({ ...ip, interface: ip.interface ?? undefined })),
    routes: prevResult.routes ?? [],
    dns: prevResult.dns ?? {},
  };
}

/** What an earlier plugin of the chain made stays first, and its nameservers win. */
export function append(before: CniResult, added: CniResult): CniResult {
  const shift = before.interfaces.length;
  const ips = added.ips.map((ip) => (ip.interface === undefined ? ip : { ...ip, interface: ip.interface + shift }));
  return {
    interfaces: [...before.interfaces, ...added.interfaces],
    ips: [...before.ips, ...ips],
    routes: [...before.routes, ...added.routes],
    dns: (before.dns.nameservers?.length ?? 0) > 0 ? before.dns : { ...added.dns, ...before.dns },
  };
}

/** As it is printed. */
export function inVersion(result: CniResult, version: Version): Record<string, unknown> {
  const isOld = version.startsWith('0.');
  const ips = result.ips.map((ip) => (isOld ? { version: ip.address.includes(':') ? '6' : '4', ...ip } : { ...ip }));
  const interfaces = result.interfaces.map(({ mtu, ...known }) =>
    version === '1.1.0' && mtu !== undefined ? { ...known, mtu } : known,
  );
  return { cniVersion: version, interfaces, ips, routes: [...result.routes], dns: { ...result.dns } };
}
