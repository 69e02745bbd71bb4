/**
 * The daemon's log: one line an event on standard error, as JSON or as text for a person.
 *
 * Place: control plane, main thread. Every call gives a stable `event` name first (`daemon.ready`, `api.failed`), made
 * of the part that speaks and what happened; programs match on it, the message may change. Nothing logs per packet:
 * what happens to frames is counted (shared/), not told.
 */
import { type DestinationStream, destination, type Logger, pino } from 'pino';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export const LOG_FORMATS = ['json', 'text'] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

export interface LogOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** @default standard error, written synchronously so that the last line before an exit is not lost */
  readonly stream?: DestinationStream;
}

const OMITTED = new Set(['level', 'time', 'event', 'msg', 'err']);

export function createLogger(options: LogOptions): Logger {
  const stream = options.stream ?? destination({ fd: 2, sync: true });
  const target = options.format === 'json' ? stream : textStream(stream);
  return pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: ['token', '*.token'],
    },
    target,
  );
}

function textStream(stream: DestinationStream): DestinationStream {
  return { write: (line) => stream.write(`${formatText(line)}\n`) };
}

/** `12:00:00.123 INFO  daemon.ready vtepd is ready node=cdh1`, from pino's JSON line. */
export function formatText(jsonLine: string): string {
  const record = JSON.parse(jsonLine) as Record<string, unknown>;
  const time = String(record.time).slice(11, 23);
  const level = String(record.level).toUpperCase().padEnd(5);
  const parts = [time, level];
  if (record.event !== undefined) parts.push(printable(String(record.event)));
  if (record.msg !== undefined) parts.push(printable(String(record.msg)));
  for (const [key, value] of Object.entries(record)) {
    if (!OMITTED.has(key)) parts.push(`${key}=${showField(value)}`);
  }
  const error = record.err as { message?: unknown; stack?: unknown; code?: unknown } | undefined;
  if (error !== undefined) {
    parts.push(`error=${showField(String(error.message ?? error))}`);
    // A code means that the error was expected to happen; anything else is a defect, and its place matters.
    if (error.code === undefined && typeof error.stack === 'string')
      parts.push(`at=${showField(firstFrame(error.stack))}`);
  }
  return parts.join(' ');
}

function firstFrame(stack: string): string {
  const frame = stack.split('\n').find((line) => line.trimStart().startsWith('at '));
  return frame?.trim().slice(3) ?? '';
}

function showField(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return /^[\w./:@+,%-]+$/.test(text) ? text : JSON.stringify(text);
}

/** Names come from other hosts by way of the registry: none may move the reader's terminal. */
function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this removes
  return text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ');
}
