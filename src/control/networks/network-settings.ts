/**
 * What a network does with its frames, chosen when it is made and the same on every host: one table for the API's request,
 * the registry's value and the CLI's flags. Control plane; pure.
 *
 * | field | flag | what |
 * |---|---|---|
 * | flood | --flood | how broadcast, unknown and multicast frames (BUM) reach the other VTEPs |
 * | group | --group | the underlay's multicast group; without, 239.0.0.0/8 with the VNI as its low 24 bits |
 * | snooping | --snooping | multicast goes only to VTEPs that have a member behind them (IGMP, MLD) |
 * | learning | --no-learning | source MACs of the tunnel are learnt |
 * | learntMacsMax | --max-learnt-macs | how many; 0: as many as the FDB holds |
 * | arpSuppression | --arp-suppression | known neighbours are answered on the host of the one who asks |
 * | portSecurity | --port-security | containers send only from the MAC and the addresses that they were given |
 * | stormLimit | --storm-limit | broadcast and unknown frames a second that one source MAC may flood; 0: any number |
 * | groupPolicy | --group-policy | the VXLAN header carries a group policy id (VXLAN-GBP) |
 * | allowedGroups | --allow-groups | with it: pairs of groups, FROM:TO, that may talk; none: all may. Without a group: 0 |
 * | reservedBits | --reserved-bits | what becomes of datagrams with reserved bits set: dropped, as in the kernel, or taken, as in RFC 7348 |
 */
import { isIPv4, isIPv6 } from 'node:net';
import { z } from 'zod';

export const FLOOD_MODES = ['auto', 'multicast', 'replicate'] as const;
export const RESERVED_BITS_MODES = ['strict', 'tolerant'] as const;
const LEARNT_MACS_MAX = 4_000_000;
const STORM_LIMIT_MAX = 10_000_000;
const GROUP_PAIRS_MAX = 1024;

const GROUP_RULE = 'must be a multicast address, such as 239.1.2.3 or ff05::1:3';
const YES_NO_RULE = 'must be on or off (true or false in the API)';
const PAIR_RULE = 'must be pairs of groups FROM:TO, each 0 to 65535, such as 10:20';

/** An IPv4 group outside of 224.0.0.0/24, which no router forwards, or an IPv6 group wider than the link. */
export function isMulticastGroup(text: string): boolean {
  if (isIPv4(text)) {
    const first = Number(text.split('.')[0]);
    return first >= 224 && first <= 239 && !text.startsWith('224.0.0.');
  }
  return isIPv6(text) && /^ff[0-9a-f][3-9a-e]:/i.test(text);
}

function count(max: number) {
  const rule = `must be a whole number from 0 to ${max}`;
  return z.number(rule).int(rule).min(0, rule).max(max, rule);
}

function isGroupPair(text: string): boolean {
  return /^\d{1,5}:\d{1,5}$/.test(text) && text.split(':').every((group) => Number(group) <= 65_535);
}

function oneOf<T extends readonly [string, ...string[]]>(choices: T) {
  return z.enum(choices, `must be one of ${choices.join(', ')}`);
}

const shape = {
  flood: oneOf(FLOOD_MODES),
  group: z.string(GROUP_RULE).refine(isMulticastGroup, GROUP_RULE),
  snooping: z.boolean(YES_NO_RULE),
  learning: z.boolean(YES_NO_RULE),
  learntMacsMax: count(LEARNT_MACS_MAX),
  arpSuppression: z.boolean(YES_NO_RULE),
  portSecurity: z.boolean(YES_NO_RULE),
  stormLimit: count(STORM_LIMIT_MAX),
  groupPolicy: z.boolean(YES_NO_RULE),
  allowedGroups: z
    .array(z.string(PAIR_RULE).refine(isGroupPair, PAIR_RULE), PAIR_RULE)
    .min(1, PAIR_RULE)
    .max(GROUP_PAIRS_MAX, `must be at most ${GROUP_PAIRS_MAX} pairs`),
  reservedBits: oneOf(RESERVED_BITS_MODES),
};

/** In a request: what is left out has its default. */
export const askedSettings = {
  flood: shape.flood.optional(),
  group: shape.group.optional(),
  snooping: shape.snooping.optional(),
  learning: shape.learning.optional(),
  learntMacsMax: shape.learntMacsMax.optional(),
  arpSuppression: shape.arpSuppression.optional(),
  portSecurity: shape.portSecurity.optional(),
  stormLimit: shape.stormLimit.optional(),
  groupPolicy: shape.groupPolicy.optional(),
  allowedGroups: shape.allowedGroups.optional(),
  reservedBits: shape.reservedBits.optional(),
};

/** In the registry and in answers. The defaults are those of networks that were made before there was the setting. */
export const storedSettings = {
  flood: shape.flood,
  group: shape.group.optional(),
  snooping: shape.snooping.default(true),
  learning: shape.learning,
  learntMacsMax: shape.learntMacsMax.default(0),
  arpSuppression: shape.arpSuppression.default(true),
  portSecurity: shape.portSecurity.default(true),
  stormLimit: shape.stormLimit.default(0),
  groupPolicy: shape.groupPolicy.default(false),
  allowedGroups: shape.allowedGroups.optional(),
  reservedBits: shape.reservedBits.default('strict'),
};

const askedSchema = z.object(askedSettings);
const storedSchema = z.object(storedSettings);
export type AskedSettings = z.infer<typeof askedSchema>;
export type NetworkSettings = z.infer<typeof storedSchema>;

/** Of whatever has them and more. */
export function settingsOf(from: AskedSettings): NetworkSettings {
  const { flood = 'replicate', learning = true, ...rest } = askedSchema.parse(from);
  return storedSchema.parse({ ...rest, flood, learning });
}
