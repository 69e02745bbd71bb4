/**
 * Step 2 of decapsulation: one datagram, checked in the kernel's order (drivers/net/vxlan/vxlan_core.c, vxlan_rcv), and
 * its frame handed to the network's TAP. @hot
 *
 * A frame from the tunnel goes to the TAP and nowhere else: it can't go back into the tunnel (split horizon).
 */
import { DECAP_BYTES, DECAP_FRAMES, VTEP_RX_BYTES, VTEP_RX_DATAGRAMS } from '../shared/counters.js';
import {
  DROP_INNER_RUNT,
  DROP_INVALID_HEADER,
  DROP_MAC_INVALID_SOURCE,
  DROP_NO_VNI_FLAG,
  DROP_RESERVED_BITS,
  DROP_SOURCE_SELF,
  DROP_TRUNCATED,
  DROP_VNI_NOT_FOUND,
  DROP_VTEP_NOT_MEMBER,
} from '../shared/drop-causes.js';
import { NO_NETWORK, SELF_VTEP } from '../shared/layout.js';
import { VTEP_MISS } from '../shared/vtep-table.js';
import { ETHERNET_HEADER_BYTES } from '../wire/ethernet.js';
import { macKeyHigh, macKeyLow } from '../wire/mac.js';
import { checkVxlan, readVni, VXLAN_HEADER_BYTES, VXLAN_NO_VNI_FLAG, VXLAN_OK, VXLAN_SHORT } from '../wire/vxlan.js';
import type { WorkerContext } from './context.js';
import { LEARN_ACCEPT, learn } from './learn.js';
import { deliver } from './tap-tx.js';

const MAC_BYTES = 6;

/**
 * @param datagramOffset of the VXLAN header in the arena; borrowed until this returns
 * @param sourceWord the outer source address as it lies in struct sockaddr_in
 */
export function decapsulate(
  context: WorkerContext,
  datagramOffset: number,
  datagramBytes: number,
  sourceWord: number,
  truncated: boolean,
): void {
  const bytes = context.arena.bytes;
  const counters = context.counters;
  const verdict = checkVxlan(bytes, datagramOffset, datagramBytes);
  if (verdict === VXLAN_SHORT) {
    counters.drop(NO_NETWORK, DROP_INVALID_HEADER);
    return;
  }
  if (verdict === VXLAN_NO_VNI_FLAG) {
    counters.drop(NO_NETWORK, DROP_NO_VNI_FLAG);
    return;
  }
  const network = context.networks.indexOf(readVni(bytes, datagramOffset));
  if (network === NO_NETWORK) {
    counters.drop(NO_NETWORK, DROP_VNI_NOT_FOUND);
    return;
  }
  if (verdict !== VXLAN_OK) {
    counters.drop(network, DROP_RESERVED_BITS);
    return;
  }
  const vtep = context.vteps.indexOfSource(sourceWord);
  if (vtep === SELF_VTEP) {
    counters.drop(network, DROP_SOURCE_SELF);
    return;
  }
  if (vtep === VTEP_MISS || !context.members.has(network, vtep)) {
    counters.drop(network, DROP_VTEP_NOT_MEMBER);
    return;
  }
  counters.addVtep(vtep, VTEP_RX_DATAGRAMS, 1);
  counters.addVtep(vtep, VTEP_RX_BYTES, datagramBytes);
  if (truncated) {
    counters.drop(network, DROP_TRUNCATED);
    return;
  }
  const frame = datagramOffset + VXLAN_HEADER_BYTES;
  const frameBytes = datagramBytes - VXLAN_HEADER_BYTES;
  if (frameBytes < ETHERNET_HEADER_BYTES) {
    counters.drop(network, DROP_INNER_RUNT);
    return;
  }
  const macHigh16 = macKeyHigh(bytes, frame + MAC_BYTES);
  const macLow = macKeyLow(bytes, frame + MAC_BYTES);
  if ((macHigh16 & 0x0100) !== 0 || (macHigh16 === 0 && macLow === 0)) {
    counters.drop(network, DROP_MAC_INVALID_SOURCE);
    return;
  }
  const cause = learn(context, network, macLow, macHigh16, vtep);
  if (cause !== LEARN_ACCEPT) {
    counters.drop(network, cause);
    return;
  }
  if (deliver(context, network, frame, frameBytes)) {
    counters.add(network, DECAP_FRAMES, 1);
    counters.add(network, DECAP_BYTES, frameBytes);
  }
}
