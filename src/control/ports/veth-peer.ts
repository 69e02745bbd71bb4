/**
 * The container that a veth's other end is in, found without being told: the kernel says the other end's index only, so the
 * namespaces that there are are looked through. Cold: only after the local copy was lost.
 */
import { readdir } from 'node:fs/promises';
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

/** @param hostEnd as `links()` shows it. @returns undefined if no namespace that can be entered has the other end. */
export async function findPeer(iproute: Iproute, hostEnd: Link): Promise<VethPeer | undefined> {
  const seen = new Set<string>();
  for (const { label, path } of await iproute.sandboxes()) {
    const identity = await namespaceIdentity(path);
    if (identity === undefined || seen.has(identity)) continue;
    seen.add(identity);
    const links = await iproute.linksIn(path).catch(() => []);
    const peer = links.find(
      (link) =>
        link.ifindex === hostEnd.link_index &&
        link.link_index === hostEnd.ifindex &&
        link.linkinfo?.info_kind === 'veth',
    );
    if (peer !== undefined) return { label, identity, interface: peer.ifname, mac: peer.address };
  }
  return undefined;
}

/** Every network namespace with a name, then those of the processes. */
export async function listSandboxes(): Promise<{ label: string; path: string }[]> {
  const names = await readdir('/run/netns').catch(() => []);
  const processes = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  return [
    ...names.map((name) => ({ label: `netns:${name}`, path: `/run/netns/${name}` })),
    ...processes.map((pid) => ({ label: `pid:${pid}`, path: `/proc/${pid}/ns/net` })),
  ];
}
