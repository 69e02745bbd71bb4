/** This host's routes, as far as a new subnet could hide where they lead. Control plane. */
import type { Iproute } from '../ports/iproute.js';
import { INTERFACE_PREFIX } from '../ports/names.js';

/** Destinations that a new subnet must not hide; those of vtep's own bridges do not count. */
export async function hostRoutes(iproute: Iproute): Promise<string[]> {
  const routes = await iproute.routes();
  return (
    routes
      .filter((route) => /^[0-9a-f.:]+(\/[0-9]+)?$/i.test(route.dst) && !route.dev?.startsWith(INTERFACE_PREFIX))
      // Link-local is on every interface and in no pool.
      .filter((route) => !/^(fe80|ff00):/i.test(route.dst))
      .map((route) => route.dst)
  );
}
