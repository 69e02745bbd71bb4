/**
 * Tokens and TLS against a Consul that asks for both: what is taken, and in which words the rest is refused.
 */
import { copyFileSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createRegistryClient, type RegistryClientOptions } from '../../../src/control/registry/client.js';
import { followTlsFiles, readTlsFiles } from '../../../src/control/registry/tls-files.js';
import { openToken } from '../../../src/control/registry/token.js';
import { watchPrefix } from '../../../src/control/registry/watcher.js';
import {
  type Certificates,
  documentedRules,
  type GuardedConsul,
  makeCertificates,
  startGuardedConsul,
} from './guarded-consul.js';

let consul: GuardedConsul;
let stranger: Certificates;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vtep-access-'));
  [consul, stranger] = await Promise.all([startGuardedConsul(), makeCertificates()]);
});

afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  stranger?.remove();
  await consul?.close();
});

const file = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};

const client = (more: Partial<RegistryClientOptions> = {}) =>
  createRegistryClient({ url: consul.url, token: consul.token, tls: consul.tls, timeoutMs: 5000, ...more });

describe('files for TLS', () => {
  it('serve a whole connection', async () => {
    const { ca, host } = consul.certificates;
    const registry = client({ tls: readTlsFiles({ ca, ...host }) });
    await registry.put('tls', 'x');
    expect((await registry.get('tls'))?.value).toBe('x');
  });

  it.each<[string, () => Parameters<typeof readTlsFiles>[0], RegExp]>([
    [
      'no such CA',
      () => ({ ca: join(folder, 'none') }),
      /^--registry-ca ".*none" can't be read \(ENOENT\): give a PEM/,
    ],
    [
      'a CA that is no PEM',
      () => ({ ca: file('der', '0\x82') }),
      /^--registry-ca ".*der" holds no certificate: give PEM/,
    ],
    [
      'a CA that is broken',
      () => ({ ca: file('bad', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n') }),
      /^--registry-ca ".*bad" holds a certificate that can not be read/,
    ],
    ['a key for a CA', () => ({ ca: consul.certificates.host.key }), /^--registry-ca .* holds no certificate/],
    ['a certificate alone', () => ({ cert: consul.certificates.host.cert }), /^--registry-cert .* has no key: give/],
    ['a key alone', () => ({ key: consul.certificates.host.key }), /^--registry-key .* has no certificate: give/],
    [
      "another's key",
      () => ({ cert: consul.certificates.host.cert, key: stranger.host.key }),
      /^--registry-key .* does not match the certificate in ".*": give the key that it was made with/,
    ],
    [
      'a certificate for a key',
      () => ({ cert: consul.certificates.host.cert, key: consul.certificates.host.cert }),
      /^--registry-key .* holds no private key/,
    ],
    [
      'an encrypted key',
      () => ({
        cert: consul.certificates.host.cert,
        key: file('enc', '-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n'),
      }),
      /^--registry-key .* is encrypted: give it without a passphrase/,
    ],
  ])('are refused: %s', (_name, paths, words) => {
    expect(() => readTlsFiles(paths())).toThrow(expect.objectContaining({ code: 'VTEP_ERR_INVALID' }));
    expect(() => readTlsFiles(paths())).toThrow(words);
  });

  it('are followed: a connection is made with what they hold then, and half an exchange changes nothing', async () => {
    const { ca, host } = consul.certificates;
    const cert = join(folder, 'followed.pem');
    const key = join(folder, 'followed.key');
    copyFileSync(stranger.host.cert, cert);
    copyFileSync(stranger.host.key, key);
    const tls = followTlsFiles({ ca, cert, key });
    const registry = client({ tls });
    await expect(registry.get('a')).rejects.toThrow(/refused this host's certificate/);
    renameSync(file('next.pem', readFileSync(host.cert, 'utf8')), cert);
    expect(tls().cert).toBe(readFileSync(stranger.host.cert, 'utf8'));
    renameSync(file('next.key', readFileSync(host.key, 'utf8')), key);
    await registry.put('exchanged', 'x');
    rmSync(cert);
    await registry.put('exchanged', 'y');
    expect((await client({ tls }).get('exchanged'))?.value).toBe('y');
  });

  it.each<[string, () => Partial<RegistryClientOptions>, RegExp]>([
    ['without the CA', () => ({ tls: {} }), /nobody known here has signed .*--registry-ca/],
    [
      "another's CA",
      () => ({ tls: readTlsFiles({ ca: stranger.ca }) }),
      /nobody known here has signed .*--registry-ca/,
    ],
    [
      'without a certificate',
      () => ({ tls: { ca: consul.tls.ca } }),
      /refused this host's certificate.*--registry-cert/,
    ],
    ['without TLS', () => ({ url: consul.url.replace('https', 'http') }), /speaks TLS: give its URL with https/],
  ])('%s: fails in words', async (_name, more, words) => {
    await expect(client(more()).get('a')).rejects.toThrow(words);
    await expect(client(more()).compareAndSet('a', '', 0)).rejects.toThrow(words);
  });
});

describe('the token', () => {
  it.each<[string, string | undefined]>([
    ['none', undefined],
    ['one that Consul does not know', '00000000-0000-4000-8000-00000000dead'],
  ])('%s: no write, no key, in words and without the token', async (_name, token) => {
    const registry = client({ token });
    const calls = [
      () => registry.get('a'),
      () => registry.put('a', ''),
      () => registry.compareAndSet('a', '', 0),
      () => registry.transaction([{ verb: 'cas', key: 'a', value: '', casIndex: 0 }]),
      () => registry.createSession('s', 30),
    ];
    for (const call of calls) {
      await expect(call()).rejects.toMatchObject({ code: 'VTEP_ERR_REGISTRY' });
      await expect(call()).rejects.toThrow(/^(?!.*dead).*refused .*: check the token and its policy$/);
    }
  });

  it('of the documented policy writes under vtep/ and nowhere else', async () => {
    expect(documentedRules()).toContain('key_prefix "vtep/"');
    await client().put('mine', 'x');
    await expect(client({ prefix: 'other/' }).put('a', 'x')).rejects.toThrow(/check the token and its policy/);
  });

  it('is followed in its file, and a file that is emptied or gone changes nothing', async () => {
    const path = file('token', '00000000-0000-4000-8000-00000000dead\n');
    const registry = client({ token: openToken({ file: path }) });
    await expect(registry.get('a')).rejects.toThrow(/check the token/);
    renameSync(file('token.new', `${consul.token}\n`), path);
    await registry.put('followed', 'x');
    writeFileSync(path, '');
    await registry.put('followed', 'y');
    rmSync(path);
    await registry.put('followed', 'z');
    expect((await registry.get('followed'))?.value).toBe('z');
  });

  it.each<[string, string | undefined, RegExp]>([
    ['missing', undefined, /can't be read \(ENOENT\): give a file that holds the token alone$/],
    ['empty', ' \n', /is empty/],
    ['two lines', 'hush\nhush', /^(?!.*hush).*holds more than printable ASCII/],
  ])('a file that is %s is refused without its content', (name, text, words) => {
    const path = text === undefined ? join(folder, 'no-token') : file(`token-${name.replace(' ', '-')}`, text);
    expect(() => openToken({ file: path })).toThrow(words);
  });

  it('that loses its rights empties no watch, though Consul shows it an empty list', async () => {
    const registry = client({ prefix: 'vtep/rights/' });
    await registry.put('a', 'x');
    await registry.put('b', 'x');
    const stop = new AbortController();
    const counts: number[] = [];
    const errors: Error[] = [];
    const ended = watchPrefix(registry, '', {
      onChange: ({ entries }) => counts.push(entries.length),
      onError: (error) => errors.push(error as Error),
      waitSeconds: 0.5,
      signal: stop.signal,
    });
    await vi.waitFor(() => expect(counts).toEqual([2]), 5000);
    await consul.setRules('session_prefix "" { policy = "write" }');
    await vi.waitFor(() => expect(errors.length).toBeGreaterThan(1), 15_000);
    expect(errors[0]?.message).toMatch(/check the token and its policy/);
    expect(counts).toEqual([2]);
    await consul.setRules(documentedRules());
    await vi.waitFor(async () => expect(await registry.get('a')).toBeDefined(), 15_000);
    await registry.put('c', 'x');
    await vi.waitFor(() => expect(counts.at(-1)).toBe(3), 15_000);
    expect(counts.every((count) => count >= 2)).toBe(true);
    stop.abort();
    await ended;
  });
});
