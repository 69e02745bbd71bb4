/** Why an attach or a detach is refused, each in one line. Control plane, pure. */
import { VtepError } from '../errors.js';
import type { LocalEndpoint } from '../state/local-state.js';

export function isBeingRemoved(network: string): VtepError {
  return new VtepError('VTEP_ERR_CONFLICT', `network "${network}" is being removed: it takes no more endpoints`);
}

export function wasMadeAnew(network: string): VtepError {
  return new VtepError(
    'VTEP_ERR_CONFLICT',
    `network "${network}" was made anew while endpoints of the earlier one are still here: detach them first`,
  );
}

export function isAttachedAlready(sandbox: string, there: LocalEndpoint): VtepError {
  const as = [there.containerInterface, ...there.addresses].join(', ');
  return new VtepError(
    'VTEP_ERR_INTERFACE_EXISTS',
    `${sandbox} is already attached to network "${there.network}" (${as}): detach it first`,
  );
}

/** @param wish that it does not fulfil */
export function isAttachedOtherwise(there: LocalEndpoint, wish: string): VtepError {
  const as = [there.name, ...there.addresses, there.mac].join(', ');
  return new VtepError(
    'VTEP_ERR_INTERFACE_EXISTS',
    `${there.sandbox} is already attached to network "${there.network}" (${as}), and not as is wanted now (${wish}): detach it first`,
  );
}

export function isStandingAlready(there: LocalEndpoint): VtepError {
  return new VtepError(
    'VTEP_ERR_INTERFACE_EXISTS',
    `${there.sandbox} has a standing endpoint on network "${there.network}" (${there.addresses.join(', ')}), which comes back when it runs: detach it first`,
  );
}

export function doesNotRun(engine: string, name: string): VtepError {
  return new VtepError(
    'VTEP_ERR_CONTAINER_UNKNOWN',
    `container "${name}" of ${engine} does not run: start it first ("${engine} start ${name}")`,
  );
}

/** A standing endpoint whose address went to another while its host was not heard of. */
export function addressWent({ name, addresses, network }: LocalEndpoint): VtepError {
  return new VtepError(
    'VTEP_ERR_ADDRESS_IN_USE',
    `an address of endpoint "${name}" (${addresses.join(', ')}) on network "${network}" went to another endpoint while this host was not heard of: detach it and attach it again`,
  );
}

export function isOwnedAlready({ owner, name, network }: LocalEndpoint): VtepError {
  return new VtepError(
    'VTEP_ERR_INTERFACE_EXISTS',
    `owner ${owner} already has endpoint "${name}" on network "${network}": detach it first`,
  );
}

export function macInUse(mac: string, network: string): VtepError {
  return new VtepError(
    'VTEP_ERR_INVALID',
    `MAC ${mac} is in use on network "${network}" on this host: give another, or none`,
  );
}

export function hasNoGroups(network: string): VtepError {
  return new VtepError(
    'VTEP_ERR_INVALID',
    `network "${network}" has no group policy, so an endpoint has no group: make it with --group-policy on, or attach without --group`,
  );
}

export function endpointUnknown(what: string): VtepError {
  return new VtepError(
    'VTEP_ERR_ENDPOINT_UNKNOWN',
    `no endpoint ${what} on this host: "vtep endpoint ls" shows each endpoint with its node`,
  );
}
