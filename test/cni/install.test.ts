/**
 * docker/cni/install.sh, and what it installs on a host that has nothing but BusyBox: run in a change of root, with the
 * socket in it. The manifest that calls it says what is there.
 */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { checkConfig } from '../../src/control/plugins/cni/cni-config.js';
import { ROOT } from '../e2e/host-pair.js';
import { CONFLIST, librariesOf } from './podman-hosts.js';

const SCRIPT = join(ROOT, 'docker/cni/install.sh');
const root = mkdtempSync(join(tmpdir(), 'vtep-install-'));
const [bin, conf] = [join(root, 'opt/cni/bin'), join(root, 'etc/cni/net.d')];

beforeAll(() => {
  for (const file of ['/bin/busybox', ...librariesOf('/bin/busybox')]) {
    mkdirSync(join(root, dirname(file)), { recursive: true });
    copyFileSync(file, join(root, file));
  }
  symlinkSync('busybox', join(root, 'bin/sh'));
});
afterAll(() => rmSync(root, { recursive: true }));

const install = (args: string[] = [], env: Record<string, string> = {}) =>
  execa(SCRIPT, args, { env: { CNI_BIN_DIR: bin, CNI_CONF_DIR: conf, ...env }, reject: false });

/** As a runtime of the bare host calls it. */
const onHost = (command: string, config: object) =>
  execa('chroot', [root, '/opt/cni/bin/vtep-cni'], {
    input: JSON.stringify(config),
    env: { CNI_COMMAND: command, CNI_CONTAINERID: 'c1', CNI_IFNAME: 'eth0', NODE_EXTRA_CA_CERTS: '' },
    reject: false,
  });

it('passes shellcheck', async () => {
  expect((await execa('shellcheck', [SCRIPT], { reject: false })).stdout).toBe('');
});

it('installs a plugin that runs where there is no Node.js', async () => {
  const done = await install();
  expect(done, done.stderr).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/vtep-cni \([0-9a-f]{12}\)$/) });
  expect(readFileSync(join(conf, '10-vtep.conflist'), 'utf8')).toBe(readFileSync(CONFLIST, 'utf8'));
  expect(existsSync(join(root, 'usr/bin/node'))).toBe(false);
  const version = await onHost('VERSION', { cniVersion: '1.0.0' });
  expect(JSON.parse(version.stdout)).toMatchObject({ cniVersion: '1.0.0' });
  const server = createServer((_, response) => response.writeHead(204).end());
  await new Promise<void>((resolve) => server.listen(join(root, 'vtepd.sock'), resolve));
  expect(await onHost('DEL', { cniVersion: '1.0.0', socket: '/vtepd.sock' })).toMatchObject({
    exitCode: 0,
    stdout: '',
  });
  await new Promise((resolve) => server.close(resolve));
  const gone = await onHost('DEL', { cniVersion: '1.0.0', socket: '/vtepd.sock' });
  expect(JSON.parse(gone.stdout)).toMatchObject({ code: 11 });
});

it('a second time changes nothing; another version replaces it, and the one of before stays until the next', async () => {
  const own = join(bin, '.vtep-cni');
  const [first] = readdirSync(own);
  const before = statSync(join(own, first!, 'node')).mtimeMs;
  mkdirSync(join(own, '.fresh.1'));
  writeFileSync(join(conf, '.10-vtep.1'), 'half');
  expect((await install()).exitCode).toBe(0);
  expect(readdirSync(own)).toEqual([first]);
  expect(readdirSync(conf)).toEqual(['10-vtep.conflist']);
  expect(statSync(join(own, first!, 'node')).mtimeMs).toBe(before);
  const wrapper = join(bin, 'vtep-cni');
  // As if two earlier versions were there.
  for (const older of ['aaaaaaaaaaaa', 'bbbbbbbbbbbb']) mkdirSync(join(own, older));
  writeFileSync(wrapper, '#!/bin/sh\nid=bbbbbbbbbbbb\n');
  expect((await install()).exitCode).toBe(0);
  expect(readdirSync(own).sort()).toEqual([first, 'bbbbbbbbbbbb'].sort());
  expect(readFileSync(wrapper, 'utf8')).toContain(`id=${first}\n`);
});

it('leaves the configuration to others, refuses a wrong one, and takes away what it put there', async () => {
  rmSync(join(conf, '10-vtep.conflist'));
  expect((await install(['--no-conflist'])).exitCode).toBe(0);
  expect(readdirSync(conf)).toEqual([]);
  const wrong = join(root, 'wrong');
  writeFileSync(wrong, '{"plugins":');
  expect(await install([], { CNI_CONFLIST: wrong })).toMatchObject({
    exitCode: 2,
    stderr: expect.stringContaining(wrong),
  });
  expect(await install(['--conf'])).toMatchObject({
    exitCode: 2,
    stderr: expect.stringMatching(/^install\.sh: --conf/),
  });
  expect(await install(['x'])).toMatchObject({ exitCode: 2 });
  expect((await install()).exitCode).toBe(0);
  writeFileSync(join(bin, 'portmap'), '');
  expect((await install(['--remove'])).exitCode).toBe(0);
  expect([...readdirSync(bin), ...readdirSync(conf)]).toEqual(['portmap']);
});

describe('the manifest for Kubernetes', () => {
  const documents = parseAllDocuments(readFileSync(join(ROOT, 'docker/kubernetes/vtep.yaml'), 'utf8'));
  const [, config, set] = documents.map((document) => {
    expect(document.errors).toEqual([]);
    return document.toJS();
  });

  it('has a configuration that the plugin takes', () => {
    const list = JSON.parse(config.data['10-vtep.conflist']);
    expect(checkConfig({ ...list.plugins[0], name: list.name }, undefined, 'c1')).toMatchObject({
      network: 'pods',
      create: { name: 'pods', subnets: ['10.128.0.0/16'] },
    });
  });

  it('mounts what it names, and runs what is in the image', () => {
    const { initContainers, containers, volumes } = set.spec.template.spec;
    for (const { volumeMounts } of [...initContainers, ...containers]) {
      for (const { name } of volumeMounts)
        expect(volumes.map((volume: { name: string }) => volume.name)).toContain(name);
    }
    const named = JSON.stringify([initContainers, containers]).match(/\/opt\/vtep\/[\w./-]+/g) ?? [];
    expect(named.length).toBe(3);
    const dockerfile = readFileSync(join(ROOT, 'docker/Dockerfile'), 'utf8');
    for (const path of named.map((one) => one.replace('/opt/vtep/', ''))) {
      expect(existsSync(join(ROOT, path)), path).toBe(true);
      expect(dockerfile.includes(path) || dockerfile.includes(`COPY ${dirname(path)} `), path).toBe(true);
    }
  });
});
