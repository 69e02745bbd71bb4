/** What the kernel has dropped on vtep's interfaces, by their statistics: since each was made, also while no vtepd ran. */
import type { Iproute } from './iproute.js';
import { INTERFACE_PREFIX } from './names.js';

interface LinkStatistics {
  readonly ifname: string;
  readonly stats64?: { readonly tx?: { readonly dropped?: number } };
}

/** Frames that an interface did not take, by its name. Never rejects: what can't be read is not told. */
export async function linkDrops(iproute: Pick<Iproute, 'show'>): Promise<ReadonlyMap<string, number>> {
  const links = await iproute.show<LinkStatistics>('-statistics', 'link', 'show').catch(() => []);
  return new Map(
    links
      .filter(({ ifname }) => ifname?.startsWith(INTERFACE_PREFIX))
      .map(({ ifname, stats64 }) => [ifname, stats64?.tx?.dropped ?? 0]),
  );
}
