/** vtepd's HTTP API on its unix socket, as a chaos run asks it: what was answered, or that nobody knows. Test support. */
import { request } from 'node:http';

export interface ApiAnswer {
  /** `lost`: the request may have been carried out or not; `refused`: nobody listened. */
  readonly outcome: 'answered' | 'lost' | 'refused';
  /** 0 without an answer. */
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: each caller knows the route's answer
  readonly body: any;
  /** The error's code, if it is one. */
  readonly code?: string;
  readonly text: string;
}

export function callApi(
  socketPath: string,
  method: string,
  path: string,
  body?: unknown,
  timeoutMs = 60_000,
): Promise<ApiAnswer> {
  return new Promise((resolve) => {
    const payload = body === undefined ? undefined : JSON.stringify(body);
    const headers = payload === undefined ? {} : { 'content-type': 'application/json' };
    const asked = request({ socketPath, method, path, headers, agent: false, timeout: timeoutMs }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => resolve(answered(response.statusCode ?? 0, text)));
      response.on('error', (error) => resolve(unanswered(error)));
    });
    asked.on('timeout', () => asked.destroy(new Error(`no answer within ${timeoutMs} ms`)));
    asked.on('error', (error) => resolve(unanswered(error)));
    asked.end(payload);
  });
}

function answered(status: number, text: string): ApiAnswer {
  let body: { error?: { code?: string; message?: string } } | undefined;
  try {
    body = text === '' ? undefined : JSON.parse(text);
  } catch {
    return { outcome: 'lost', status, body: undefined, text };
  }
  const error = body?.error;
  if (status < 400 || error === undefined) return { outcome: 'answered', status, body, text: 'done' };
  return { outcome: 'answered', status, body, code: error.code ?? '?', text: `${error.message} [${error.code}]` };
}

function unanswered(error: Error): ApiAnswer {
  const code = (error as NodeJS.ErrnoException).code;
  const outcome = code === 'ENOENT' || code === 'ECONNREFUSED' ? 'refused' : 'lost';
  return { outcome, status: 0, body: undefined, text: error.message };
}
