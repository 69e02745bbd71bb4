/** The pure parts of the CNI plugin: what a runtime may say, whose an endpoint is, and the versions' results. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { attachSchema } from '../../../../src/control/api/schema.js';
import { VtepError } from '../../../../src/control/errors.js';
import {
  COMMANDS,
  checkAttachment,
  checkVersion,
  isContainerId,
  ownerOf,
  parseArgs,
  parseOwner,
  VERSIONS,
} from '../../../../src/control/plugins/cni/cni-call.js';
import { checkConfig } from '../../../../src/control/plugins/cni/cni-config.js';
import { CNI_CODES, CniError, toCniBody } from '../../../../src/control/plugins/cni/cni-error.js';
import { append, inVersion, parsePrevResult } from '../../../../src/control/plugins/cni/cni-result.js';
import { checkValidAttachments } from '../../../../src/control/plugins/cni/valid-attachments.js';
import { ROOT } from '../../../e2e/host-pair.js';

const containerId = fc.stringMatching(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,114}$/);
const ifname = fc.stringMatching(/^[a-zA-Z0-9@._-]{1,15}$/).filter((name) => name !== '.' && name !== '..');
const configName = fc.stringMatching(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/);

describe('whose an endpoint is', () => {
  it('is found again from its text, which the API takes', () => {
    fc.assert(
      fc.property(containerId, ifname, configName, (id, name, config) => {
        const attachment = checkAttachment({ CNI_CONTAINERID: id, CNI_IFNAME: name });
        const owner = ownerOf(attachment, config);
        expect(parseOwner(owner)).toEqual({ containerId: id, ifname: name, configName: config });
        expect(attachSchema.parse({ network: 'n', pid: 1, owner })).toMatchObject({ owner });
      }),
    );
  });

  it('two attachments never have the same', () => {
    const one = fc.tuple(containerId, ifname, configName);
    fc.assert(
      fc.property(one, one, (a, b) => {
        const [x, y] = [a, b].map(([id, name, config]) => ownerOf({ containerId: id, ifname: name }, config));
        expect(x === y).toBe(a.join(' ') === b.join(' '));
      }),
    );
  });

  it.each([undefined, '', 'docker:4f2a', 'cni:x', 'cni:x/eth0', 'cni:/eth0@n'])('not of %o', (owner) => {
    expect(parseOwner(owner)).toBeUndefined();
  });
});

it.each(['', '-a', '.a', 'a b', 'a/b', 'ä', 'a'.repeat(116)])('no container id: "%s"', (text) => {
  expect(isContainerId(text)).toBe(false);
});

it.each(['', '.', '..', 'a b', 'a/b', 'a:b', 'sixteen-letters-', 'ü'])('no interface name: "%s"', (text) => {
  expect(() => checkAttachment({ CNI_CONTAINERID: 'c', CNI_IFNAME: text })).toThrow(CniError);
});

it('each command is for the versions that have it', () => {
  const table = COMMANDS.map((command) => {
    const taken = VERSIONS.filter((version) => {
      try {
        return checkVersion(version, command) === version;
      } catch {
        return false;
      }
    });
    return [command, taken[0]];
  });
  expect(Object.fromEntries(table)).toEqual({
    ...{ ADD: '0.3.0', DEL: '0.3.0', VERSION: '0.3.0' },
    ...{ CHECK: '0.4.0', GC: '1.1.0', STATUS: '1.1.0' },
  });
});

it('the client has the same commands and versions', () => {
  const client = readFileSync(join(ROOT, 'src/cni.ts'), 'utf8');
  const list = (values: readonly string[]) => `[${values.map((value) => `'${value}'`).join(', ')}]`;
  expect(client).toContain(`const COMMANDS = ${list(COMMANDS)};`);
  expect(client).toContain(`const VERSIONS = ${list(VERSIONS)};`);
});

it('arguments: every pair is read, whatever its value', () => {
  const key = fc.stringMatching(/^[A-Z0-9_]{1,20}$/);
  const value = fc.stringMatching(/^[a-z0-9=:./,-]{0,20}$/);
  fc.assert(
    fc.property(fc.dictionary(key, value), (pairs) => {
      const text = Object.entries(pairs).map(([name, content]) => `${name}=${content}`);
      expect(Object.fromEntries(parseArgs(text.join(';')))).toEqual({ ...pairs });
    }),
  );
  expect(() => parseArgs('=x')).toThrow(CniError);
});

describe('configuration', () => {
  const read = (fields: object, args?: string) => checkConfig({ name: 'n', ...fields }, args, '0123456789abcdef');

  it('runtimeConfig goes before args.cni, before CNI_ARGS, before its own fields; prefix lengths go', () => {
    const all = { runtimeConfig: { ips: ['10.0.0.1/24'], mac: 'r' }, args: { cni: { ips: ['10.0.0.2'], mac: 'a' } } };
    const own = { ip: '10.0.0.4/24', mac: 'o' };
    const args = 'IP=10.0.0.3/24,fd00::3/64;MAC=e';
    const found = [
      read({ ...all, ...own }, args),
      read({ args: all.args, ...own }, args),
      read({ runtimeConfig: { ips: [] }, ...own }, args),
      read(own),
      read({}),
    ];
    expect(found.map(({ ips, mac }) => [ips, mac])).toEqual([
      [['10.0.0.1'], 'r'],
      [['10.0.0.2'], 'a'],
      [['10.0.0.3', 'fd00::3'], 'e'],
      [['10.0.0.4'], 'o'],
      [undefined, undefined],
    ]);
  });

  it.each([
    [undefined, '0123456789ab'],
    ['K8S_POD_NAME=web', 'web'],
    ['K8S_POD_NAME=web;K8S_POD_NAMESPACE=shop', 'web.shop'],
    ['K8S_POD_NAMESPACE=shop', '0123456789ab'],
    [`K8S_POD_NAME=${'a'.repeat(62)}-b;K8S_POD_NAMESPACE=shop`, 'a'.repeat(62)],
    ['K8S_POD_NAME=--', '0123456789ab'],
  ])('the endpoint of %o is named %s', (args, name) => {
    expect(read({}, args).endpointName).toBe(name);
  });

  it('lets pass what others want of it, and makes networks of the fields of its own', () => {
    const foreign = { bridge: 'cni0', isGateway: true, ipMasq: 'x', ipam: {}, keyA: { deep: 1 }, capabilities: {} };
    expect(read({ ...foreign, vni: 'not looked at' })).toMatchObject({ network: 'n', create: undefined });
    const made = read({ ...foreign, create: true, network: 'm', vni: 300, ipv6: true, flood: 'replicate', group: 7 });
    expect(made).toMatchObject({ create: { name: 'm', vni: 300, ipv6: true, flood: 'replicate' }, group: 7 });
    expect(made.create).not.toHaveProperty('group');
  });

  it('the capability dns goes before the field', () => {
    const dns = { nameservers: ['192.0.2.1'], search: ['a'], domain: 'd' };
    expect(read({ dns, runtimeConfig: { dns: { searches: ['b'] } } }).dns).toEqual({
      ...dns,
      search: ['b'],
      options: undefined,
    });
  });
});

describe('results', () => {
  const result = {
    interfaces: [{ name: 'eth0', mac: '02:00:5e:10:00:01', mtu: 1450, sandbox: '/run/netns/x' }],
    ips: [
      { address: '10.0.0.2/24', gateway: '10.0.0.1', interface: 0 },
      { address: 'fd00::2/64', interface: 0 },
    ],
    routes: [{ dst: '0.0.0.0/0', gw: '10.0.0.1' }],
    dns: { nameservers: ['10.0.0.1'] },
  };

  it.each(VERSIONS)('of %s come back as they were', (version) => {
    const { interfaces, ...back } = parsePrevResult(inVersion(result, version));
    expect(back.ips.map(({ address, gateway, interface: index }) => [address, gateway, index])).toEqual(
      result.ips.map(({ address, gateway, interface: index }) => [address, gateway, index]),
    );
    expect(back.routes).toEqual(result.routes);
    expect(interfaces[0]).toMatchObject({ name: 'eth0', sandbox: '/run/netns/x' });
    expect('mtu' in interfaces[0]!).toBe(version === '1.1.0');
  });

  it('a chain keeps the first nameservers, and every index means its own interface', () => {
    const first = { ...result, dns: { nameservers: ['192.0.2.53'] } };
    const both = append(first, result);
    expect(both.ips.map(({ interface: index }) => index)).toEqual([0, 0, 1, 1]);
    expect(both.dns.nameservers).toEqual(['192.0.2.53']);
    expect(append({ ...first, dns: {} }, result).dns.nameservers).toEqual(['10.0.0.1']);
  });

  it('nulls of other plugins are nothing', () => {
    const empty = { interfaces: [], ips: [], routes: [], dns: {} };
    expect(parsePrevResult({ cniVersion: '1.0.0', interfaces: null, ips: null, routes: null, dns: null })).toEqual(
      empty,
    );
  });
});

describe('errors', () => {
  it.each<[unknown, object]>([
    [new VtepError('VTEP_ERR_REGISTRY_UNREACHABLE', 'm'), { code: 11, details: 'VTEP_ERR_REGISTRY_UNREACHABLE' }],
    [new VtepError('VTEP_ERR_CONFLICT', 'm'), { code: 11 }],
    [new VtepError('VTEP_ERR_STATE', 'm'), { code: 5 }],
    [new VtepError('VTEP_ERR_INVALID', 'm'), { code: 7 }],
    [new VtepError('VTEP_ERR_TABLE_FULL', 'm'), { code: 100, details: 'VTEP_ERR_TABLE_FULL' }],
    [new TypeError('x is\nundefined'), { code: 100, msg: expect.stringContaining('x is undefined') }],
  ])('%o', (error, body) => {
    expect(toCniBody(error)).toMatchObject(body);
  });

  it('each code is in docs/cni.md', () => {
    const docs = readFileSync(join(ROOT, 'docs/cni.md'), 'utf8');
    const listed = docs.split('\n').flatMap((line) => /^\| ([\d, ]+) \|/.exec(line)?.[1]?.split(', ') ?? []);
    expect(listed.map(Number).sort()).toEqual(Object.values(CNI_CODES).sort());
  });
});

it('the list of valid attachments becomes owners', () => {
  const field = [{ containerID: 'c', ifname: 'eth0', more: 1 }];
  expect([...checkValidAttachments({ 'cni.dev/valid-attachments': field }, 'n')]).toEqual(['cni:c/eth0@n']);
});
