/**
 * What went wrong with one registry server: in words for a person, and what follows for the request: whether another
 * server may do better, and whether this one may have carried it out. Pure; control plane, used by client.ts.
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

export interface FailureFacts {
  readonly code: ErrorCode;
  /** Goes on from the server's URL: "has no leader". */
  readonly what: string;
  readonly advice: string;
  /** Another server may answer where this one did not. */
  readonly elsewhere: boolean;
  /** Whether the request may have been carried out nevertheless. */
  readonly maybeDone: boolean;
}

/** One server's. It holds nothing of the request, so that no token gets into a log by it. */
export class ServerFailure extends Error {
  readonly facts: FailureFacts;

  constructor(
    readonly url: string,
    facts: FailureFacts,
  ) {
    super(`registry ${url} ${facts.what}`);
    this.name = 'ServerFailure';
    this.facts = facts;
  }
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

/** An answer of Consul's that is no 2xx, and 404 where that is none; undefined when nothing was answered. */
export function refusalOf(error: unknown): { status: number; body: unknown } | undefined {
  const { isResponse, response } = error as LibraryError;
  return isResponse === true && response !== undefined
    ? { status: response.statusCode, body: response.body }
    : undefined;
}

export function textOf(body: unknown): string {
  const text = Buffer.isBuffer(body) || typeof body === 'string' ? body.toString() : '';
  return text.replace(/\s+/g, ' ').trim().slice(0, 200);
}

const NO_LEADER = /no cluster leader|no known consul servers/i;
/** What a server says that lost its leader, or the way to it, while it had the request. */
const LEADER_LOST = /leadership (lost|transfer)|not the leader|rpc error|raft is already shutdown|timed out enqueuing/i;
const TLS_CODES = /^(ERR_TLS|ERR_SSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|EPROTO)/;

export function isTimeout(error: unknown): boolean {
  return (error as LibraryError | undefined)?.isTimeout === true;
}

/** @param sent whether the request had a connection; `timeoutMs` is what it was given. */
export function serverFailure(url: string, error: unknown, sent: boolean, timeoutMs: number): ServerFailure {
  if (error instanceof ServerFailure) return error;
  return new ServerFailure(url, factsOf(error as LibraryError, sent, timeoutMs));
}

function factsOf(failure: LibraryError, sent: boolean, timeoutMs: number): FailureFacts {
  const unreachable = { code: 'VTEP_ERR_REGISTRY_UNREACHABLE', elsewhere: true, maybeDone: sent } as const;
  if (failure.isTimeout === true) {
    const seconds = timeoutMs / 1000;
    return { ...unreachable, what: `did not answer within ${seconds} s`, advice: 'check that Consul is well there' };
  }
  if (failure.isResponse === true) {
    return answeredFacts(failure.response?.statusCode ?? 0, textOf(failure.response?.body));
  }
  const code = failure.code ?? '';
  if (failure.isCodec === true || code.startsWith('HPE_')) {
    const what = 'does not answer as Consul does';
    return { ...unreachable, code: 'VTEP_ERR_REGISTRY', maybeDone: true, what, advice: 'check --registry' };
  }
  // The server hangs up on a client whose certificate it does not take, and the alert comes after the handshake.
  if (TLS_CODES.test(code)) return { ...unreachable, maybeDone: false, ...tlsWords(code) };
  const what = `is not reachable (${code === '' ? failure.message : code})`;
  return { ...unreachable, what, advice: 'check --registry and that Consul runs there' };
}

function answeredFacts(status: number, text: string): FailureFacts {
  const shown = text === '' ? `${status}` : `${status} ${text}`;
  const final = { code: 'VTEP_ERR_REGISTRY', elsewhere: false, maybeDone: false } as const;
  if (NO_LEADER.test(text)) return noLeader();
  // A follower puts "rpc error" before the leader's own refusals too.
  if (/invalid session|session lookup/i.test(text)) {
    return { ...final, what: `knows no such session (${text})`, advice: 'make a new one' };
  }
  if (status === 401 || status === 403 || /permission denied|acl not found/i.test(text)) {
    return { ...final, what: `refused the request (${shown})`, advice: 'check the token and its policy' };
  }
  if (status >= 500 && LEADER_LOST.test(text)) {
    const what = `lost its leader (${shown})`;
    const advice = 'try again when there is one';
    return { code: 'VTEP_ERR_REGISTRY_UNREACHABLE', elsewhere: true, maybeDone: true, what, advice };
  }
  if (status === 400 && /https server/i.test(text)) {
    return { ...final, what: 'speaks TLS', advice: 'give its URL with https://' };
  }
  const advice = 'check that Consul is there and well';
  return {
    ...final,
    elsewhere: status >= 500 || status === 429,
    maybeDone: status >= 500,
    what: `answered ${shown}`,
    advice,
  };
}

/** Of the certificates, in words: the codes of OpenSSL say little to whom they happen to. */
function tlsWords(code: string): { what: string; advice: string } {
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return {
      what: `has a certificate for another name (${code})`,
      advice: 'give the name that is in it in --registry',
    };
  }
  if (/SELF_SIGNED|UNABLE_TO|DEPTH_ZERO/.test(code)) {
    const advice = "give the CA's certificate with --registry-ca";
    return { what: `has a certificate that nobody known here has signed (${code})`, advice };
  }
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID') {
    return { what: `has a certificate whose time is not now (${code})`, advice: 'renew it, or set the clocks' };
  }
  if (/ALERT/.test(code)) {
    const advice = 'give one that it takes with --registry-cert and --registry-key';
    return { what: `refused this host's certificate, or that there is none (${code})`, advice };
  }
  return { what: `does not speak TLS as it should (${code})`, advice: 'check --registry: http:// for a plain server' };
}

export function noLeader(): FailureFacts {
  const advice = 'check that most of its Consul servers run';
  return { code: 'VTEP_ERR_REGISTRY_UNREACHABLE', what: 'has no leader', advice, elsewhere: true, maybeDone: false };
}

/** An answer that came with status 2xx or 404 and yet is none of Consul's. */
export function nonsense(url: string, what: string): ServerFailure {
  const advice = 'check that --registry names a Consul server';
  return new ServerFailure(url, { code: 'VTEP_ERR_REGISTRY', what, advice, elsewhere: true, maybeDone: true });
}

/** One line for all the servers that were tried, the last one's failure deciding. */
export function toVtepError(failures: readonly ServerFailure[], isRepeatable: boolean): VtepError {
  const last = failures.at(-1)!;
  const { code, advice, maybeDone } = last.facts;
  const said = failures.map(({ url, facts }) => `${url} ${facts.what}`).join('; ');
  const unknown = maybeDone && !isRepeatable ? ', and whether the write was made is not known' : '';
  const subject = failures.length === 1 ? 'registry' : `none of ${failures.length} registry servers serves:`;
  return new VtepError(code, `${subject} ${said}${unknown}: ${advice}`, { cause: last });
}
