/** The hosts that the registry knows, as the API tells of them. Control plane. */
import type { Logger } from 'pino';
import type { Node } from '../api/schema.js';
import type { Registry } from '../registry/registry.js';
import { NODES_PREFIX, parseNode, parseNodeKey } from '../registry/schema.js';

/** @param self this host's name. @returns in the order of their names */
export async function listNodes(registry: Registry, self: string, logger: Logger): Promise<Node[]> {
  const nodes: Node[] = [];
  for (const entry of (await registry.list(NODES_PREFIX)).entries) {
    const name = parseNodeKey(entry.key);
    const value = parseNode(entry, (error) => logger.warn({ event: 'registry.bad-value', err: error }, error.message));
    if (name === undefined || value === undefined) continue;
    const { ip, otherIp, port } = value.vtep;
    nodes.push({ name, vtep: { ip, port, ...(otherIp === undefined ? {} : { otherIp }) }, self: name === self });
  }
  return nodes.sort((a, b) => (a.name < b.name ? -1 : 1));
}
