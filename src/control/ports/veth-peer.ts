/**
 * The container that a veth's other end is in, found without being told: the kernel says the other end's index, and the
 * number that its namespace has here. Cold: only after the local copy was lost.
 */
import type { Iproute, Link } from './iproute.js';
import { namespaceIdentity } from './namespace.js';

export interface VethPeer {
  /** `netns:NAME` or `pid:N`. */
  readonly label: string;
  /** `device:inode`. */
  readonly identity: string;
  readonly interface: string;
  readonly mac: string | undefined;
}

/** @param hostEnd as `links()` shows it. @returns undefined if the namespace has neither a name nor a process. */
export async function findPeer(iproute: Iproute, hostEnd: Link): Promise<VethPeer | undefined> {
  if (hostEnd.link_netnsid === undefined) return undefined;
  for (const { label, path } of await iproute.sandboxes(hostEnd.link_netnsid)) {
    const identity = await namespaceIdentity(path);
    const links = await iproute.linksIn(path).catch(() => []);
    // An index is a namespace's own: without the namespace's number many would fit.
    const peer = links.find((link) => link.ifindex === hostEnd.link_index);
    if (identity !== undefined && peer !== undefined) {
      return { label, identity, interface: peer.ifname, mac: peer.address };
    }
  }
  return undefined;
}
