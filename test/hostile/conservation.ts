/**
 * The law of conservation, over counters alone. A frame is what is on the wire: a superframe from a TAP counts as the
 * frames that it is split into, and as one if it is refused before; a superframe into a TAP counts as its segments.
 *
 *     from the underlay   datagrams received  =  decap_frames + group_messages + every drop of decapsulation
 *     from a TAP          frames received     =  encap_frames + drops before the look-up (UNSENT)
 *     between             encap_frames        =  drops on the way (NOWHERE) + requests suppressed + flooded_frames + unicast
 *     to the underlay     unicast + flood_copies  =  tx_datagrams of all VTEPs + underlay_busy + underlay_error
 *
 * What the kernel counts is outside: no worker has received it. Test support.
 */
import { DROP_CAUSES } from '../../src/shared/drop-causes.js';

/** Drops of frames that never become encap_frames. */
const UNSENT = ['tap_runt', 'tap_virtio_header', 'tap_gso', 'oversize', 'gateway_source'];
const REFUSED_BY_KERNEL = ['underlay_busy', 'underlay_error'];
const OUTSIDE = ['underlay_overflow', 'source_mac', 'source_address', 'tap_queue_full', 'port_refused'];
/** Drops of encap_frames that go to no VTEP. */
const NOWHERE = ['local_destination', 'no_remote', 'no_member', 'storm_limit', 'too_big'];

export interface Totals {
  /** Traffic counters by name, over all networks. */
  readonly traffic: Readonly<Record<string, number>>;
  /** By cause, over all networks and frames of none. */
  readonly drops: Readonly<Record<string, number>>;
  /** Over all VTEPs. */
  readonly txDatagrams: number;
}

export interface Received {
  readonly datagrams: number;
  /** From TAPs; undefined: nobody has counted them. */
  readonly frames: number | undefined;
}

/** @returns what breaks the law, or undefined */
export function wrongInCounters({ traffic, drops, txDatagrams }: Totals, received: Received): string | undefined {
  const sum = (names: readonly string[]) => names.reduce((total, name) => total + (drops[name] ?? 0), 0);
  const of = (name: string) => traffic[name] ?? 0;
  const decapDrops = DROP_CAUSES.filter(({ direction, name }) => direction === 'decap' && !OUTSIDE.includes(name));
  const arrived = of('decap_frames') + of('group_messages') + sum(decapDrops.map(({ name }) => name));
  if (arrived !== received.datagrams)
    return `${received.datagrams} datagrams received, ${arrived} delivered or dropped`;
  const taken = of('encap_frames') + sum(UNSENT);
  if (received.frames !== undefined && taken !== received.frames) {
    return `${received.frames} frames from TAPs, ${taken} encapsulated or dropped`;
  }
  const suppressed = of('arp_suppressed') + of('nd_suppressed');
  const unicast = of('encap_frames') - sum(NOWHERE) - suppressed - of('flooded_frames');
  const due = unicast + of('flood_copies');
  const left = txDatagrams + sum(REFUSED_BY_KERNEL);
  if (due !== left) return `${due} datagrams due, ${left} sent or refused`;
  const known = DROP_CAUSES.filter(({ direction }) => direction === 'encap').map(({ name }) => name);
  const unnamed = known.filter((name) => ![...UNSENT, ...REFUSED_BY_KERNEL, ...NOWHERE, ...OUTSIDE].includes(name));
  return unnamed.length === 0 ? undefined : `the law says nothing of ${unnamed.join(', ')}`;
}
