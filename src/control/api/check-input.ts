/**
 * From untrusted input to a typed value, with an error that a person can act on: `vni: 17000000 must be ...`.
 *
 * Place: the API's routes and the CLI call the same function with the same schemas, so both say the same thing.
 */
import { z } from 'zod';
import { VtepError } from '../errors.js';

const VALUE_CHARACTERS_MAX = 80;

/**
 * @param labels how the caller's user knows a field, such as `{ mtuBytes: '--mtu' }`; by default its own name.
 * @throws VtepError VTEP_ERR_INVALID that names the first wrong field, its value and what would be right.
 */
export function checkInput<T extends z.ZodType>(
  schema: T,
  input: unknown,
  labels: Readonly<Record<string, string>> = {},
): z.output<T> {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  throw new VtepError('VTEP_ERR_INVALID', describe(result.error.issues[0], schema, input, labels));
}

/** JSON text of a value, cut to what fits a line. */
export function showValue(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length <= VALUE_CHARACTERS_MAX ? text : `${text.slice(0, VALUE_CHARACTERS_MAX)}...`;
}

function describe(
  issue: z.core.$ZodIssue | undefined,
  schema: z.ZodType,
  input: unknown,
  labels: Readonly<Record<string, string>>,
): string {
  if (issue === undefined) return 'the input is not valid';
  const message = lowerFirst(issue.message.replace(/\s+/g, ' '));
  if (issue.code === 'unrecognized_keys') {
    const object = schema instanceof z.ZodPipe ? schema.in : schema;
    const known = object instanceof z.ZodObject ? `; known: ${Object.keys(object.shape).join(', ')}` : '';
    return `unknown field ${showValue(issue.keys[0])}${known}`;
  }
  if (issue.path.length === 0) {
    if (typeof input !== 'object' || input === null || Array.isArray(input)) {
      return `the request must be a JSON object, not ${showValue(input)}`;
    }
    return message.replace(/\w+/g, (word) => labels[word] ?? word);
  }
  const path = issue.path.map(String).join('.');
  // An element of a list is known as the list is.
  const name = labels[path] ?? labels[path.replace(/\.\d+$/, '')] ?? path;
  let value: unknown = input;
  for (const key of issue.path) value = (value as Record<PropertyKey, unknown> | undefined)?.[key];
  return value === undefined ? `${name} is missing: ${message}` : `${name}: ${showValue(value)} ${message}`;
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
