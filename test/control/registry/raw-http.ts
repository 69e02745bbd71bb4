/**
 * Consul's HTTP API without the client, for tests of what goes over the wire.
 */
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

export function rawHttp(url: string): RawHttp {
  return async (method, path, body, signal) => {
    const answer = await fetch(`${url}/v1/${path}`, {
      method,
      ...(body === undefined ? {} : { body }),
      ...(signal === undefined ? {} : { signal }),
    });
    const text = await answer.text();
    const index = answer.headers.get('x-consul-index');
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch {
      json = undefined;
    }
    return { status: answer.status, index: index === null ? undefined : Number(index), text, json };
  };
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
