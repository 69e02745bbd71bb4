/** Datagrams to unix sockets, heard by a program that is not ours. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { sendUnixDatagram } from '../../src/sys/unix-datagram.js';
import { waitFor } from '../e2e/host-pair.js';
import { NotifyReceiver } from './notify-receiver.js';

const folder = mkdtempSync(join(tmpdir(), 'vtep-unix-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const path = join(folder, 'notify');
const abstract = `vtep-test-${process.pid}`;

it.each([
  ['a path', path, `UNIX-RECVFROM:${path}`, () => existsSync(path)],
  [
    'an abstract name',
    `@${abstract}`,
    `ABSTRACT-RECVFROM:${abstract}`,
    () => readFileSync('/proc/net/unix', 'utf8').includes(` @${abstract}\n`),
  ],
])('reach %s', async (_what, target, listen, isThere) => {
  const child = spawn('socat', ['-u', listen, 'STDOUT'], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    let heard = '';
    child.stdout.on('data', (data: Buffer) => {
      heard += data.toString();
    });
    const ended = new Promise((resolve) => child.once('close', resolve));
    await waitFor('socat to listen', isThere);
    expect(sendUnixDatagram(target, Buffer.from('READY=1\nSTATUS=ünter uns'))).toBe(true);
    await ended;
    expect(heard).toBe('READY=1\nSTATUS=ünter uns');
  } finally {
    child.kill('SIGKILL');
  }
});

it('say when the receiver has no room, and fit again when it has', () => {
  const receiver = new NotifyReceiver(`@${abstract}-full`);
  const message = Buffer.from('WATCHDOG=1');
  let sent = 0;
  // The kernel's limit (net.unix.max_dgram_qlen) is far below.
  while (sent < 100_000 && sendUnixDatagram(`@${abstract}-full`, message)) sent++;
  expect(sent).toBeGreaterThan(0);
  expect(sent).toBeLessThan(100_000);
  expect(receiver.take()).toHaveLength(sent);
  expect(sendUnixDatagram(`@${abstract}-full`, message)).toBe(true);
  receiver.close();
});

it('name what is wrong', () => {
  const nobody = join(folder, 'nobody');
  expect(() => sendUnixDatagram(nobody, Buffer.from('x'))).toThrow(`sendto ${nobody}: ENOENT`);
  writeFileSync(nobody, '');
  expect(() => sendUnixDatagram(nobody, Buffer.from('x'))).toThrow('ECONNREFUSED');
  expect(() => sendUnixDatagram(`@${abstract}-none`, Buffer.from('x'))).toThrow('ECONNREFUSED');
  // A path needs its zero, an abstract name takes all 108 bytes.
  expect(() => sendUnixDatagram(`/${'x'.repeat(107)}`, Buffer.from('x'))).toThrow('ENAMETOOLONG');
  expect(() => sendUnixDatagram(`/${'x'.repeat(106)}`, Buffer.from('x'))).toThrow('ENOENT');
  expect(() => sendUnixDatagram(`@${'x'.repeat(107)}`, Buffer.from('x'))).toThrow('ECONNREFUSED');
  expect(() => sendUnixDatagram(`@${'x'.repeat(108)}`, Buffer.from('x'))).toThrow('ENAMETOOLONG');
});
