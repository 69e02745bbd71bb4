/**
 * A network gets another name, while nobody uses it: for networks that were made before their name was known. Control plane.
 *
 *     active ─CAS▶ removing, renamingTo: <new> ─(nobody has an address or endpoint)─▶ one transaction:
 *                     │                               networks/<old> ─▶ networks/<new>, vnis/<vni>, subnets/<cidr> follow
 *                     └─(somebody has, or the new name is taken)─CAS▶ active
 *
 * As with a removal, no endpoint slips in: whoever publishes one checks the index of networks/<old>. A renamer that died
 * is finished by the next one that has the same name in mind, or by a removal. The network's id stays: it is the same one.
 */
import { nameSchema } from '../api/schema.js';
import { VtepError } from '../errors.js';
import type { Registry, RegistryEntry, RegistryOperation } from '../registry/registry.js';
import {
  addressesPrefix,
  encodeValue,
  endpointsPrefix,
  journalKey,
  type NetworkValue,
  networkKey,
  networkValueSchema,
  parseNetwork,
  parseSubnet,
  parseVni,
  peersPrefix,
  subnetKey,
  subnetValueSchema,
  vniKey,
  vniValueSchema,
} from '../registry/schema.js';

const TRIES_MAX = 10;

interface Stored {
  readonly value: NetworkValue;
  readonly modifyIndex: number;
}

/**
 * @returns the network under its new name.
 * @throws VtepError VTEP_ERR_INVALID (no name for a network), VTEP_ERR_NETWORK_UNKNOWN, VTEP_ERR_NETWORK_EXISTS (the new
 *   name is taken), VTEP_ERR_NETWORK_IN_USE (somebody has an address or an endpoint), VTEP_ERR_CONFLICT (it is being
 *   removed, or changes all the time)
 */
export async function renameNetwork(registry: Registry, from: string, to: string): Promise<NetworkValue> {
  const name = nameSchema.safeParse(to);
  if (!name.success) {
    throw new VtepError('VTEP_ERR_INVALID', `network name ${JSON.stringify(to)} ${name.error.issues[0]?.message}`);
  }
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const found = await read(registry, from);
    if (found === undefined) throw new VtepError('VTEP_ERR_NETWORK_UNKNOWN', `network "${from}" does not exist`);
    if (found.value.state === 'removing' && found.value.renamingTo !== to) {
      throw new VtepError('VTEP_ERR_CONFLICT', `network "${from}" is being removed or renamed by others`);
    }
    const refusal = await whyNot(registry, from, to);
    if (refusal !== undefined) {
      if (found.value.state === 'active' || (await backToActive(registry, found))) throw refusal;
      continue;
    }
    if (found.value.state === 'active') {
      const held = { ...found.value, state: 'removing' as const, renamingTo: to };
      // From here on nobody publishes: what is found now stays so. The index of the new state is needed: read it again.
      await registry.compareAndSet(networkKey(from), encodeValue(networkValueSchema, held), found.modifyIndex);
      continue;
    }
    const { renamingTo: _, ...kept } = found.value;
    const renamed: NetworkValue = { ...kept, name: to, state: 'active' };
    if (await registry.transaction(await moves(registry, found, renamed))) return renamed;
  }
  throw new VtepError('VTEP_ERR_CONFLICT', `network "${from}" changed while it was being renamed; try again`);
}

async function read(registry: Registry, name: string): Promise<Stored | undefined> {
  const entry = await registry.get(networkKey(name));
  if (entry === undefined) return undefined;
  const value = parseNetwork(entry, (error) => {
    throw error;
  });
  return value && { value, modifyIndex: entry.modifyIndex };
}

async function whyNot(registry: Registry, from: string, to: string): Promise<VtepError | undefined> {
  if ((await registry.get(networkKey(to))) !== undefined) {
    return new VtepError('VTEP_ERR_NETWORK_EXISTS', `network "${to}" exists already: "${from}" can't have its name`);
  }
  for (const prefix of [endpointsPrefix(from), addressesPrefix(from), peersPrefix(from)]) {
    const { keys } = await registry.listKeys(prefix);
    if (keys.length === 0) continue;
    const users = keys.map((key) => key.slice(prefix.length)).join(', ');
    return new VtepError('VTEP_ERR_NETWORK_IN_USE', `network "${from}" is in use by ${users}: it keeps its name`);
  }
  return undefined;
}

function backToActive(registry: Registry, { value, modifyIndex }: Stored): Promise<boolean> {
  const { renamingTo: _, ...kept } = value;
  const active = encodeValue(networkValueSchema, { ...kept, state: 'active' });
  return registry.compareAndSet(networkKey(value.name), active, modifyIndex);
}

async function moves(registry: Registry, from: Stored, to: NetworkValue): Promise<RegistryOperation[]> {
  const old = from.value.name;
  const operations: RegistryOperation[] = [
    // Not by delete-cas alone: that takes a key that is gone for deleted.
    { verb: 'check-index', key: networkKey(old), casIndex: from.modifyIndex },
    { verb: 'delete', key: networkKey(old) },
    { verb: 'cas', key: networkKey(to.name), value: encodeValue(networkValueSchema, to), casIndex: 0 },
    { verb: 'delete', key: journalKey(endpointsPrefix(old)) },
  ];
  const follow = (entry: RegistryEntry | undefined, holder: string | undefined, value: string) => {
    // Only what is claimed for this network.
    if (entry === undefined || holder !== old) return;
    operations.push({ verb: 'cas', key: entry.key, value, casIndex: entry.modifyIndex });
  };
  const vni = await registry.get(vniKey(to.vni));
  follow(vni, vni && parseVni(vni)?.network, encodeValue(vniValueSchema, { v: 1, network: to.name }));
  for (const { cidr } of to.subnets) {
    const claim = await registry.get(subnetKey(cidr));
    const value = encodeValue(subnetValueSchema, { v: 1, network: to.name });
    follow(claim, claim && parseSubnet(claim)?.network, value);
  }
  return operations;
}
