/**
 * What a chaos run does to the world, one JSON object per action, so that a run can be kept, replayed and shrunk by hand.
 * Names and numbers are fixed by the generator; what is not there when an action's turn comes makes it a no-op.
 */

/** Hosts count from 1. */
export type HostNumber = number;

export interface AttachAction {
  readonly kind: 'attach';
  readonly host: HostNumber;
  readonly network: string;
  /** Its namespace is made if it is not there. */
  readonly container: string;
  /** The host part of a fixed address in the network's subnet. */
  readonly ipOffset?: number;
  readonly mac?: string;
}

export type Action =
  | AttachAction
  | { readonly kind: 'detach'; readonly container: string; readonly by: 'name' | 'netns' | 'id' }
  | { readonly kind: 'delete-namespace'; readonly container: string }
  /** Detach, and attach the same address and MAC as `successor` on `host`. */
  | { readonly kind: 'move'; readonly container: string; readonly successor: string; readonly host: HostNumber }
  | {
      readonly kind: 'network-create';
      readonly host: HostNumber;
      readonly network: string;
      /** Gets that network's subnet: two networks may have the same addresses. */
      readonly subnetOf?: string;
      /** An IPv6 subnet besides. */
      readonly ipv6?: true;
    }
  | {
      readonly kind: 'network-rm';
      readonly host: HostNumber;
      readonly network: string;
      /** Also with endpoints: only while nothing is in trouble, else it is left out. */
      readonly force?: true;
    }
  | { readonly kind: 'restart'; readonly host: HostNumber; readonly signal: 'SIGTERM' | 'SIGKILL' }
  | { readonly kind: 'stop'; readonly host: HostNumber; readonly signal: 'SIGTERM' | 'SIGKILL' }
  | { readonly kind: 'start'; readonly host: HostNumber }
  /** vtepd, containers and kernel objects of the host go at once; its disk stays. `start` boots it. */
  | { readonly kind: 'power-loss'; readonly host: HostNumber }
  /** The address and MAC of a container that died with its host come up elsewhere while that host is still down. */
  | { readonly kind: 'takeover'; readonly container: string; readonly successor: string; readonly host: HostNumber }
  /** vtepd is killed that long after the attach was asked for, and started again. */
  | { readonly kind: 'killed-attach'; readonly attach: AttachAction; readonly afterMs: number }
  /** All are asked for at the same moment. */
  | { readonly kind: 'race'; readonly attaches: readonly AttachAction[] }
  /** `link`: the carrier goes; `silent`: frames vanish; `unreachable`: sending fails at once (registry only). */
  | {
      readonly kind: 'partition';
      readonly host: HostNumber;
      readonly from: 'all' | 'registry';
      readonly how: 'link' | 'silent' | 'unreachable';
    }
  | { readonly kind: 'heal'; readonly host: HostNumber }
  /** The host gets another underlay address: under a running vtepd (`live`), or while it is stopped. */
  | { readonly kind: 'renumber'; readonly host: HostNumber; readonly live: boolean }
  | { readonly kind: 'registry-restart'; readonly signal: 'SIGTERM' | 'SIGKILL' }
  | { readonly kind: 'registry-stop'; readonly signal: 'SIGTERM' | 'SIGKILL' }
  | { readonly kind: 'registry-start' }
  | { readonly kind: 'registry-wipe' }
  | {
      readonly kind: 'delete-link';
      readonly host: HostNumber;
      readonly network: string;
      readonly what: 'bridge' | 'tap';
    }
  | { readonly kind: 'delete-veth'; readonly container: string }
  | { readonly kind: 'pause'; readonly ms: number }
  /** All is healed, and compared with the model. `spared`: two hosts that nothing but registry trouble befalls until the next one. */
  | { readonly kind: 'quiet'; readonly spared: readonly HostNumber[] };

export interface Recording {
  readonly seed: number;
  readonly hosts: number;
  readonly actions: readonly Action[];
}
