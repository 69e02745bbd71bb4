/**
 * Texts of options to values: what several options share, and the registry's URLs. A parser answers the value, or a Refusal
 * that says what would be right. Control plane; pure.
 */

/** A parser's refusal: what would be right. */
export class Refusal {
  constructor(readonly rule: string) {}
}

const CONSUL_PORT = 8500;

export function wholeNumber(min: number, max: number, rule: string): (text: string) => number | Refusal {
  return (text) => {
    const value = /^-?\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    return value >= min && value <= max ? value : new Refusal(rule);
  };
}

export function matching(pattern: RegExp, rule: string): (text: string) => string | Refusal {
  return (text) => (pattern.test(text) ? text : new Refusal(rule));
}

export function oneOf<T extends string>(choices: readonly T[]): (text: string) => T | Refusal {
  return (text) => choices.find((choice) => choice === text) ?? new Refusal(`must be one of ${choices.join(', ')}`);
}

/** `http://host:port`, without a closing slash. Without a scheme it is http, and without a port Consul's own. */
function parseRegistryUrl(text: string): string | Refusal {
  const bare = !text.includes('://');
  const rule = 'must be the URL of a Consul server, such as http://10.30.10.111:8500';
  const url = URL.canParse(bare ? `http://${text}` : text) ? new URL(bare ? `http://${text}` : text) : undefined;
  if (url === undefined || text.trim() !== text || url.hostname === '') return new Refusal(rule);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return new Refusal(`${rule}: the scheme is http or https`);
  if (url.username !== '' || url.password !== '')
    return new Refusal(`${rule}: a secret goes in --registry-token-file or --token`);
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '') return new Refusal(`${rule}: without a path`);
  const hasPort = url.port !== '' || /:\d+\/?$/.test(text);
  return bare && !hasPort ? `http://${url.hostname}:${CONSUL_PORT}` : url.origin;
}

/** Servers of one cluster, in the order in which they are tried. */
export function parseRegistryUrls(text: string): readonly string[] | Refusal {
  const urls = text.split(',').map((part) => parseRegistryUrl(part.trim()));
  const refusal = urls.find((url) => url instanceof Refusal);
  if (refusal !== undefined) return refusal;
  const unique = [...new Set(urls as string[])];
  const schemes = new Set(unique.map((url) => url.split(':')[0]));
  return schemes.size === 1 ? unique : new Refusal('must be all http:// or all https://: a token goes to each of them');
}
