/**
 * Consul's HTTP API without the client, for tests of what goes over the wire.
 */
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { TlsFiles } from '../../../src/control/registry/tls-files.js';

export interface RawAnswer {
  readonly status: number;
  readonly index: number | undefined;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: whatever JSON the server sent
  readonly json: any;
}

export type RawHttp = (
  method: string,
  path: string,
  body?: string | Uint8Array<ArrayBuffer>,
  signal?: AbortSignal,
) => Promise<RawAnswer>;

export function rawHttp(url: string, more: { readonly token?: string; readonly tls?: TlsFiles } = {}): RawHttp {
  const headers = more.token === undefined ? {} : { 'x-consul-token': more.token };
  const send = url.startsWith('https:') ? httpsRequest : httpRequest;
  return (method, path, body, signal) =>
    new Promise((resolve, reject) => {
      const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) };
      const options = { method, headers: { ...headers, ...length }, ...more.tls, ...(signal && { signal }) };
      const sent = send(`${url}/v1/${path}`, options, (response) => {
        const chunks: Buffer[] = [];
        response.on('error', reject).on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          const index = response.headers['x-consul-index'];
          let json: unknown;
          try {
            json = JSON.parse(text);
          } catch {
            json = undefined;
          }
          resolve({
            status: response.statusCode ?? 0,
            index: index === undefined ? undefined : Number(index),
            text,
            json,
          });
        });
      });
      sent.on('error', reject).end(body);
    });
}

/** Whether `promise` is still open after `ms`. */
export async function stillOpen(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const open = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(true), ms);
  });
  const settled = promise.then(
    () => false,
    () => false,
  );
  const result = await Promise.race([open, settled]);
  clearTimeout(timer);
  return result;
}

/** What a blocked query answers when it was woken: one that merely ran out of its wait is too late. */
export async function soon<T>(promise: Promise<T>): Promise<T> {
  if (await stillOpen(promise, 2000)) throw new Error('the query was not woken within 2 s');
  return promise;
}
