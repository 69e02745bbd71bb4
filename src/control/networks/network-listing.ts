/** A network of the registry as the API tells of it. Control plane; pure. */
import type { Network } from '../api/schema.js';
import type { NetworkValue } from '../registry/schema.js';
import { settingsOf } from './network-settings.js';

export function toNetwork(value: NetworkValue): Network {
  const { name, id, vni, internal, mtuBytes, createdAt } = value;
  const subnets = value.subnets.map(({ cidr, gateway, range, reserved }) => ({
    cidr,
    ...(gateway === undefined ? {} : { gateway }),
    ...(range === undefined ? {} : { range }),
    ...(reserved === undefined ? {} : { reserved }),
  }));
  return { name, id, vni, subnets, internal, mtuBytes, ...settingsOf(value), scope: 'global', createdAt };
}
