/**
 * A Consul server as a careful operator runs it: ACLs that deny by default, a token with just the policy of
 * docs/operations.md, TLS with client certificates asked for. Test support.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { startConsul } from './consul-server.js';
import { type RawHttp, rawHttp } from './raw-http.js';

const SCRIPT = fileURLToPath(new URL('../../../scripts/consul.sh', import.meta.url));
const DOCS = fileURLToPath(new URL('../../../docs/operations.md', import.meta.url));
const MANAGEMENT = '6f9c0b56-3d7a-4c6e-9f0b-0d5a2b7f4e11';

export interface Certificates {
  readonly folder: string;
  readonly ca: string;
  readonly server: { readonly cert: string; readonly key: string };
  readonly host: { readonly cert: string; readonly key: string };
  remove(): void;
}

/** Files of a CA of its own, made by Consul. */
export async function makeCertificates(): Promise<Certificates> {
  const folder = mkdtempSync(join(tmpdir(), 'vtep-tls-'));
  const { stdout: binary } = await execa('bash', [SCRIPT]);
  for (const args of [
    ['ca', 'create'],
    ['cert', 'create', '-server'],
    ['cert', 'create', '-client'],
  ]) {
    await execa(binary, ['tls', ...args], { cwd: folder });
  }
  const pair = (name: string) => ({ cert: join(folder, `${name}.pem`), key: join(folder, `${name}-key.pem`) });
  return {
    folder,
    ca: join(folder, 'consul-agent-ca.pem'),
    server: pair('dc1-server-consul-0'),
    host: pair('dc1-client-consul-0'),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

export interface GuardedConsul {
  readonly url: string;
  readonly certificates: Certificates;
  readonly tls: { readonly ca: string; readonly cert: string; readonly key: string };
  /** With the policy that the docs tell to make. */
  readonly token: string;
  /** May do everything. */
  readonly management: RawHttp;
  /** Gives the token's policy other rules. */
  setRules(rules: string): Promise<void>;
  close(): Promise<void>;
}

/** The block of the docs that users copy. */
export const documentedRules = (): string => /```hcl\n([\s\S]*?)```/.exec(readFileSync(DOCS, 'utf8'))?.[1] ?? '';

export async function startGuardedConsul(): Promise<GuardedConsul> {
  const certificates = await makeCertificates();
  const { ca, server, host } = certificates;
  const tls = {
    ca: readFileSync(ca, 'utf8'),
    cert: readFileSync(host.cert, 'utf8'),
    key: readFileSync(host.key, 'utf8'),
  };
  const hcl = [
    `acl { enabled = true default_policy = "deny" tokens { master = "${MANAGEMENT}" } }`,
    `ca_file = "${ca}" cert_file = "${server.cert}" key_file = "${server.key}" verify_incoming = true`,
  ];
  const consul = await startConsul({ hcl, raw: { token: MANAGEMENT, tls } });
  const management = rawHttp(consul.url, { token: MANAGEMENT, tls });
  const rulesBody = (Rules: string) => JSON.stringify({ Name: 'vtep', Rules });
  const policy = (await management('PUT', 'acl/policy', rulesBody(documentedRules()))).json;
  const token = (await management('PUT', 'acl/token', JSON.stringify({ Policies: [{ ID: policy.ID }] }))).json;
  return {
    url: consul.url,
    certificates,
    tls,
    token: token.SecretID,
    management,
    async setRules(rules) {
      const changed = await management('PUT', `acl/policy/${policy.ID}`, rulesBody(rules));
      if (changed.status !== 200) throw new Error(`the policy could not be changed: ${changed.text}`);
    },
    async close() {
      await consul.close();
      certificates.remove();
    },
  };
}
