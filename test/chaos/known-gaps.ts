/**
 * What vtep is known not to do yet. Each switch takes one demand from the run; it goes when the work is done. A demand is
 * never weakened otherwise.
 */

export interface KnownGaps {
  /** The addresses of a host that has died are kept for it: a takeover while it is down is refused. */
  readonly deadNodesKeepAddresses: boolean;
  /** A registry that lost its data lacks networks without endpoints for good. */
  readonly wipedRegistryLosesEmptyNetworks: boolean;
  /** Until all hosts have published again, a wiped registry gives VNIs, subnets and addresses out a second time. */
  readonly wipedRegistryGivesTwice: boolean;
  /** A network that a host puts back into the registry has no claim on its subnet. */
  readonly putBackLacksSubnetClaim: boolean;
  /** Hosts claim no addresses in advance. */
  readonly noSpareAddresses: boolean;
  /** An attach during which vtepd was killed leaves a veth, a bridge or a TAP that nobody removes. */
  readonly killedAttachLeavesLinks: boolean;
  /** A host that comes back with another underlay address is refused while its old session lives. */
  readonly renumberedHostIsRefused: boolean;
}

export const KNOWN_GAPS: KnownGaps = {
  deadNodesKeepAddresses: false,
  wipedRegistryLosesEmptyNetworks: false,
  wipedRegistryGivesTwice: false,
  putBackLacksSubnetClaim: false,
  noSpareAddresses: false,
  killedAttachLeavesLinks: false,
  renumberedHostIsRefused: false,
};
