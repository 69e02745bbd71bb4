/** docs/errors.md and the table in errors.ts say the same, code by code. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { ERROR_CODES, type ErrorCode, VtepError } from '../../src/control/errors.js';

const text = readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8');
const rows = [...text.matchAll(/^\| `(VTEP_ERR_\w+)` \| (\d+) \| (yes|no) \| (.+?) \| (.+?) \|$/gm)];

it('docs/errors.md lists every code, each once, in the order of errors.ts', () => {
  expect(rows.map((row) => row[1])).toEqual(Object.keys(ERROR_CODES));
});

it('docs/errors.md has the HTTP status and the retryable of each code', () => {
  const documented = Object.fromEntries(
    rows.map(([, code, status, retryable]) => [code, { httpStatus: Number(status), retryable: retryable === 'yes' }]),
  );
  expect(documented).toEqual(ERROR_CODES);
});

it('an error carries its code, its status and its cause', () => {
  for (const code of Object.keys(ERROR_CODES) as ErrorCode[]) {
    const cause = new Error('below');
    const error = new VtepError(code, 'one line', { cause });
    expect(error).toMatchObject({ code, message: 'one line', cause, ...ERROR_CODES[code] });
  }
});
