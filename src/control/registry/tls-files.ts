/**
 * The files of a TLS connection to the registry: who may have signed the server's certificate, and this host's own
 * certificate with its key. Control plane; read at start-up, so that a wrong file is told there and then, and followed
 * from then on: certificates are exchanged before they end, and no restart is needed for it.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { VtepError } from '../errors.js';

export interface TlsPaths {
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

/** PEM, as node:tls takes it. */
export interface TlsFiles {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** @throws VtepError VTEP_ERR_INVALID that names the option, the file and what would be right. */
export function readTlsFiles(paths: TlsPaths): TlsFiles {
  const { ca, cert, key } = paths;
  if (cert !== undefined && key === undefined) {
    throw wrong('cert', cert, 'has no key: give its private key with --registry-key');
  }
  if (key !== undefined && cert === undefined) {
    throw wrong('key', key, 'has no certificate: give its certificate with --registry-cert');
  }
  const files: { ca?: string; cert?: string; key?: string } = {};
  if (ca !== undefined) {
    files.ca = readText('ca', ca);
    checkCertificates('ca', ca, files.ca);
  }
  if (cert !== undefined && key !== undefined) {
    files.cert = readText('cert', cert);
    const certificate = checkCertificates('cert', cert, files.cert);
    files.key = readText('key', key);
    if (!certificate.checkPrivateKey(checkKey(key, files.key))) {
      throw wrong('key', key, `does not match the certificate in "${cert}": give the key that it was made with`);
    }
  }
  return files;
}

/**
 * @returns the files of now, for each new connection. Files that do not fit together, as in the middle of an exchange,
 *   change nothing: the last ones that did stay. @throws VtepError as readTlsFiles, for the first ones
 */
export function followTlsFiles(paths: TlsPaths): () => TlsFiles {
  let seen = stampsOf(paths);
  let current = readTlsFiles(paths);
  return () => {
    const now = stampsOf(paths);
    if (now === seen) return current;
    try {
      current = readTlsFiles(paths);
      seen = now;
    } catch {
      // Being exchanged: looked at again with the next connection.
    }
    return current;
  };
}

function stampsOf({ ca, cert, key }: TlsPaths): string {
  return [ca, cert, key].map((path) => (path === undefined ? '' : stampOf(path))).join('|');
}

function stampOf(path: string): string {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats === undefined ? 'none' : `${stats.ino} ${stats.size} ${stats.mtimeMs}`;
}

function wrong(option: string, path: string, text: string, cause?: unknown): VtepError {
  return new VtepError('VTEP_ERR_INVALID', `--registry-${option} "${path}" ${text}`, { cause });
}

function readText(option: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw wrong(option, path, `can't be read (${reason}): give a PEM file`, cause);
  }
}

/** @returns the first certificate: the host's own, where a chain follows it. */
function checkCertificates(option: string, path: string, text: string): X509Certificate {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw wrong(option, path, 'holds no certificate: give PEM, "-----BEGIN CERTIFICATE-----"');
  try {
    return blocks.map((block) => new X509Certificate(block))[0]!;
  } catch (cause) {
    throw wrong(option, path, 'holds a certificate that can not be read: give PEM as openssl writes it', cause);
  }
}

function checkKey(path: string, text: string): KeyObject {
  if (/ENCRYPTED/.test(text)) throw wrong('key', path, 'is encrypted: give it without a passphrase, readable by root');
  if (!/-----BEGIN (\w+ )?PRIVATE KEY-----/.test(text)) {
    throw wrong('key', path, 'holds no private key: give PEM, "-----BEGIN PRIVATE KEY-----"');
  }
  try {
    return createPrivateKey(text);
  } catch (cause) {
    throw wrong('key', path, 'holds a private key that can not be read: give PEM as openssl writes it', cause);
  }
}
