/**
 * What went wrong with the registry, in one line for a person. Control plane; used by client.ts.
 */
import { type ErrorCode, VtepError } from '../errors.js';
import type { ConsulResponse } from './consul-library.js';

interface LibraryError extends Error {
  readonly code?: string;
  readonly isTimeout?: boolean;
  readonly isCodec?: boolean;
  readonly isResponse?: boolean;
  readonly response?: ConsulResponse;
}

/** @throws VtepError VTEP_ERR_INVALID when `text` is not an http or https URL of a host. */
export function checkRegistryUrl(text: string): URL {
  const wrong = (why: string) =>
    new VtepError('VTEP_ERR_INVALID', `registry "${text}" ${why}: give a URL such as http://10.0.0.1:8500`);
  if (!URL.canParse(text)) throw wrong('is not a URL');
  const url = new URL(text);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw wrong('is neither http nor https');
  if (url.username !== '' || url.password !== '') {
    throw new VtepError('VTEP_ERR_INVALID', `registry ${url.host} is given with a password in its URL: give a token`);
  }
  if (url.search !== '' || url.hash !== '') throw wrong('has a query or a fragment');
  return url;
}

/** The status of an answered request that the library took for an error; undefined when nothing was answered. */
export function statusOf(error: unknown): number | undefined {
  const { isResponse, response } = error as LibraryError;
  return isResponse === true ? response?.statusCode : undefined;
}

function answeredText(response: ConsulResponse | undefined): string {
  const { body } = response ?? {};
  const text = Buffer.isBuffer(body) || typeof body === 'string' ? body.toString() : '';
  return text.replace(/\s+/g, ' ').trim().slice(0, 200);
}

/** @param url the registry's, for the message; `timeoutMs` is what the request was given. */
export function registryFailure(url: string, error: unknown, timeoutMs: number): VtepError {
  const failure = error as LibraryError;
  const say = (code: ErrorCode, text: string) => new VtepError(code, `registry ${url} ${text}`, { cause: error });
  if (failure.isTimeout === true) {
    const seconds = timeoutMs / 1000;
    return say('VTEP_ERR_REGISTRY_UNREACHABLE', `did not answer within ${seconds} s: check that Consul is well there`);
  }
  if (failure.isResponse === true) {
    const status = failure.response?.statusCode ?? 0;
    const text = answeredText(failure.response);
    if (/no cluster leader|no known consul servers/i.test(text)) {
      return say('VTEP_ERR_REGISTRY_UNREACHABLE', 'has no leader: check that most of its Consul servers run');
    }
    if (/invalid session|session lookup/i.test(text)) {
      return say('VTEP_ERR_REGISTRY', `knows no such session (${text}): make a new one`);
    }
    if (status === 401 || status === 403) {
      return say('VTEP_ERR_REGISTRY', `refused the request (${status} ${text}): check the token and its policy`);
    }
    const shown = text === '' ? `${status}` : `${status} ${text}`;
    return say('VTEP_ERR_REGISTRY', `answered ${shown}: check that Consul is there and well`);
  }
  const code = failure.code ?? '';
  if (failure.isCodec === true || code.startsWith('HPE_')) {
    return say('VTEP_ERR_REGISTRY', 'does not answer as Consul does: check --registry');
  }
  const reason = code === '' ? failure.message : code;
  return say(
    'VTEP_ERR_REGISTRY_UNREACHABLE',
    `is not reachable (${reason}): check --registry and that Consul runs there`,
  );
}

/** An answer that came with status 2xx or 404 and yet is none of Consul's. */
export function nonsense(url: string, what: string): VtepError {
  return new VtepError('VTEP_ERR_REGISTRY', `registry ${url} ${what}: check that --registry names a Consul server`);
}
