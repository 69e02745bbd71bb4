/** The offloads by name, and what an operator can say of each. */

export const OFFLOAD_NAMES = [
  'tap-tso',
  'tap-uso',
  'underlay-gso',
  'underlay-gro',
  'coalesce-tcp',
  'coalesce-udp',
  'simd-checksum',
] as const;
export type OffloadName = (typeof OFFLOAD_NAMES)[number];
/** `auto`: on where the kernel can. */
export const OFFLOAD_SWITCHES = ['auto', 'off'] as const;
export type OffloadSwitch = (typeof OFFLOAD_SWITCHES)[number];
export type OffloadSwitches = Readonly<Record<OffloadName, OffloadSwitch>>;
