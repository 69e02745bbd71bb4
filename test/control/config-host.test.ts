/** What vtepd finds on the host before it starts: the underlay, the checks, the order of stopping, the log's lines. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, describe, expect, it } from 'vitest';
import { VtepError } from '../../src/control/errors.js';
import { Lifecycle, StopRequested } from '../../src/control/lifecycle.js';
import { createLogger, formatText } from '../../src/control/log.js';
import { checkIproute2, checkTun, freeSocketPath, prepareStateDirectory } from '../../src/control/startup-checks.js';
import { chooseUnderlay, explainPortInUse, findUnderlay, type UnderlayWish } from '../../src/control/underlay.js';
import { movedTo } from '../../src/control/underlay-monitor.js';

const directory = mkdtempSync(join(tmpdir(), 'vtep-host-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

async function refusal(work: () => unknown): Promise<VtepError> {
  try {
    await work();
  } catch (error) {
    expect(error).toBeInstanceOf(VtepError);
    expect((error as VtepError).message).not.toContain('\n');
    return error as VtepError;
  }
  throw new Error('accepted');
}

describe('the underlay', () => {
  const lo = { ifname: 'lo', mtu: 65_536, addr_info: [{ family: 'inet', local: '127.0.0.1', scope: 'host' }] };
  const eth0 = {
    ifname: 'eth0',
    altnames: ['enp3s0'],
    mtu: 9000,
    addr_info: [
      { family: 'inet6', local: '2001:db8::1', scope: 'global' },
      { family: 'inet', local: '169.254.1.1', scope: 'link' },
      { family: 'inet', local: '192.0.2.1', scope: 'global' },
      { family: 'inet', local: '192.0.2.2', scope: 'global' },
    ],
  };
  const bare = { ifname: 'eth1', mtu: 1500, addr_info: [] };
  const all = [lo, eth0, bare];

  it('is the first global IPv4 address of the interface', () => {
    expect(chooseUnderlay(all, { underlay: 'eth0' })).toEqual({ interface: 'eth0', ip: '192.0.2.1', mtuBytes: 9000 });
    expect(chooseUnderlay(all, { underlay: 'enp3s0' }).interface).toBe('eth0');
  });

  const six = (local: string, flags: object = {}) => ({ family: 'inet6', local, scope: 'global', ...flags });
  const eth6 = {
    ifname: 'eth6',
    mtu: 1500,
    addr_info: [
      { family: 'inet6', local: 'fe80::6', scope: 'link' },
      six('2001:db8::a', { tentative: true }),
      six('2001:db8::b', { tentative: true, dadfailed: true }),
      six('2001:db8::c', { deprecated: true }),
      six('2001:db8::d', { temporary: true }),
      six('fd00::6', { dynamic: true, mngtmpaddr: true }),
      six('2001:db8::6'),
    ],
  };

  it('of IPv6 is the first that lasts and is known to be unique; ULA is fine, link-local is not', () => {
    expect(chooseUnderlay([lo, eth6], { underlay: 'eth6' })).toEqual({
      interface: 'eth6',
      ip: 'fd00::6',
      mtuBytes: 1500,
    });
  });

  it.each([
    ['auto', { ip: '192.0.2.1' }],
    ['ipv4', { ip: '192.0.2.1' }],
    ['ipv6', { ip: '2001:db8::1' }],
    ['both', { ip: '192.0.2.1', otherIp: '2001:db8::1' }],
  ] as const)('of family %s', (underlayFamily, addresses) => {
    const chosen = chooseUnderlay(all, { underlay: 'eth0', underlayFamily });
    expect(chosen).toEqual({ interface: 'eth0', mtuBytes: 9000, ...addresses });
  });

  it('may be advertised once for each family, all of one interface; what is not is found there', () => {
    const both = { interface: 'eth0', ip: '192.0.2.2', otherIp: '2001:db8::1', mtuBytes: 9000 };
    expect(chooseUnderlay(all, { advertise: ['2001:db8::1', '192.0.2.2'] })).toEqual(both);
    expect(chooseUnderlay(all, { advertise: ['192.0.2.2'], underlayFamily: 'both' })).toEqual(both);
    expect(chooseUnderlay([...all, eth6], { advertise: ['fd00::6'] })).toMatchObject({
      interface: 'eth6',
      ip: 'fd00::6',
    });
  });

  it('or the interface that holds the address', () => {
    expect(chooseUnderlay(all, { advertise: ['192.0.2.2'] })).toEqual({
      interface: 'eth0',
      ip: '192.0.2.2',
      mtuBytes: 9000,
    });
    expect(chooseUnderlay(all, { advertise: ['127.0.0.1'] }).interface).toBe('lo');
    expect(chooseUnderlay(all, { underlay: 'eth0', advertise: ['192.0.2.2'] }).ip).toBe('192.0.2.2');
  });

  it.each([
    [{ underlay: 'ens99' }, 'underlay "ens99": no such interface; this host has lo, eth0, eth1'],
    [
      { underlay: 'eth1' },
      'underlay "eth1": has no global IPv4 or IPv6 address; give it one (ip addr add 10.30.10.111/24 dev',
    ],
    [{ underlay: 'lo' }, 'underlay "lo": has no global IPv4 or IPv6 address'],
    [{ underlay: 'eth1', underlayFamily: 'ipv4' }, 'underlay "eth1": has no global IPv4 address; give'],
    [
      { underlay: 'eth1', underlayFamily: 'ipv6' },
      'has no global IPv6 address; give it one (ip addr add 2001:db8::111/64',
    ],
    [
      { underlay: 'eth6', underlayFamily: 'both' },
      'no global IPv4 address; give it one (ip addr add 10.30.10.111/24 dev eth6) or choose another interface, or --underlay-family ipv6',
    ],
    [
      { underlay: 'young', underlayFamily: 'ipv6' },
      'no global IPv6 address that can be used (2001:db8::1 is tentative, 2001:db8::2 is a duplicate)',
    ],
    [{ advertise: ['2001:db8::1'], underlay: 'young' }, "can't be used on young: it is not yet known to be unique"],
    [{ advertise: ['2001:db8::2'], underlay: 'young' }, "can't be used on young: another machine has it too"],
    [
      { advertise: ['192.0.2.1', 'fd00::6'] },
      'advertise "fd00::6": interface "eth0" does not hold it; it has 2001:db8::1 (eth0)',
    ],
    [{ advertise: ['192.0.2.9'] }, 'advertise "192.0.2.9": this host does not hold it; it has 127.0.0.1 (lo), 169.254'],
    [{ underlay: 'eth1', advertise: ['192.0.2.1'] }, 'interface "eth1" does not hold it; it has none'],
  ] as [UnderlayWish, string][])('%j is refused', async (wanted, message) => {
    const young = {
      ifname: 'young',
      mtu: 1500,
      addr_info: [six('2001:db8::1', { tentative: true }), six('2001:db8::2', { tentative: true, dadfailed: true })],
    };
    // Only where it is named: a message lists what there is.
    const here = wanted.underlay === 'young' ? [young] : wanted.underlay === 'eth6' ? [eth6] : all;
    const error = await refusal(() => chooseUnderlay(here, wanted));
    expect(error.code).toBe('VTEP_ERR_UNDERLAY');
    expect(error.message).toContain(message);
  });

  it('moves when its interface has lost the address, to what it has instead, if that is anything', () => {
    const of = (...addresses: string[]) => ({
      ...eth0,
      addr_info: addresses.map((local) => ({ family: 'inet', local, scope: 'global' })),
    });
    expect(movedTo([lo, of('192.0.2.1')], 'eth0', '192.0.2.1')).toBeUndefined();
    expect(movedTo([lo, of('192.0.2.7', '192.0.2.1')], 'eth0', '192.0.2.1')).toBeUndefined();
    expect(movedTo([lo, of('192.0.2.7', '192.0.2.8')], 'enp3s0', '192.0.2.1')).toBe('192.0.2.7');
    expect(movedTo([lo, of()], 'eth0', '192.0.2.1')).toBeUndefined();
    expect(movedTo([lo], 'eth0', '192.0.2.1')).toBeUndefined();
    // Each family for itself.
    const dual = { ...eth0, addr_info: [...of('192.0.2.7').addr_info, six('2001:db8::7')] };
    expect(movedTo([dual], 'eth0', '192.0.2.1')).toBe('192.0.2.7');
    expect(movedTo([dual], 'eth0', '2001:db8::1')).toBe('2001:db8::7');
    expect(movedTo([of('192.0.2.7')], 'eth0', '2001:db8::1')).toBeUndefined();
    const refused = { ...eth0, addr_info: [six('2001:db8::1', { dadfailed: true }), six('2001:db8::7')] };
    expect(movedTo([refused], 'eth0', '2001:db8::1')).toBe('2001:db8::7');
    expect(movedTo([eth6], 'eth6', '2001:db8::c')).toBeUndefined();
  });

  it('is read from this host', async () => {
    expect(await findUnderlay({ advertise: ['127.0.0.1'] })).toMatchObject({ interface: 'lo', ip: '127.0.0.1' });
  });
});

describe('the port that is taken', () => {
  const NETNS = `vtcfg${process.pid}`;
  afterAll(() => execa('ip', ['netns', 'del', NETNS], { reject: false }));

  it('is explained by the kernel VXLAN device that holds it, and only by that', async () => {
    await execa('ip', ['netns', 'add', NETNS]);
    const device = ['link', 'add', 'vx7', 'type', 'vxlan', 'id', '7', 'dstport', '4790', 'local', '127.0.0.1'];
    await execa('ip', ['-n', NETNS, ...device]);
    const script = `
      const { explainPortInUse } = await import('./dist/control/underlay.js');
      const { VtepError } = await import('./dist/control/errors.js');
      const taken = new VtepError('VTEP_ERR_PORT_IN_USE', 'taken');
      for (const port of [4790, 4791]) console.log((await explainPortInUse(taken, port)).message);`;
    await execa(process.execPath, ['scripts/setup.mjs', 'build']);
    const argv = ['netns', 'exec', NETNS, process.execPath, '--input-type=module', '-e', script];
    const { stdout } = await execa('ip', argv);
    const [explained, other] = stdout.split('\n');
    expect(explained).toContain('UDP port 4790');
    expect(explained).toContain('ip link del vx7');
    expect(other).toBe('taken');
  });

  it('other errors come back as they are', async () => {
    const error = new VtepError('VTEP_ERR_KERNEL', 'x');
    expect(await explainPortInUse(error, 4789)).toBe(error);
  });
});

describe('checks', () => {
  it('/dev/net/tun', async () => {
    expect(() => checkTun()).not.toThrow();
    const missing = await refusal(() => checkTun(join(directory, 'tun')));
    expect(missing).toMatchObject({ code: 'VTEP_ERR_NO_TUN' });
    for (const part of ['is missing', 'modprobe tun', 'mknod', '--device']) expect(missing.message).toContain(part);
  });

  it('iproute2', async () => {
    await checkIproute2();
    const path = process.env.PATH;
    try {
      process.env.PATH = directory;
      expect(await refusal(checkIproute2)).toMatchObject({
        code: 'VTEP_ERR_NO_IPROUTE',
        message: expect.stringContaining('"ip" is missing: install it (apt-get install iproute2)'),
      });
      // BusyBox's `ip` ends with its usage on -json.
      writeFileSync(join(directory, 'ip'), '#!/bin/sh\necho "ip: unrecognized option: json" >&2\nexit 1\n', {
        mode: 0o755,
      });
      expect((await refusal(checkIproute2)).message).toContain('is not iproute2');
    } finally {
      process.env.PATH = path;
    }
  });

  it('the state directory is made, for its owner alone', async () => {
    const path = join(directory, 'a', 'b');
    await prepareStateDirectory(path);
    expect(statSync(path).mode & 0o777).toBe(0o700);
    await prepareStateDirectory(path);
    writeFileSync(join(directory, 'file'), '');
    const error = await refusal(() => prepareStateDirectory(join(directory, 'file', 'state')));
    expect(error).toMatchObject({ code: 'VTEP_ERR_INVALID', message: expect.stringContaining('ENOTDIR') });
    expect((await refusal(() => prepareStateDirectory('/proc/vtep'))).message).toContain('state-dir "/proc/vtep"');
  });

  it('the socket: free, stale, live, or something else', async () => {
    const path = join(directory, 'vtepd.sock');
    await freeSocketPath(path);

    const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => console.log('up'))`;
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
    expect(existsSync(path)).toBe(true);
    await freeSocketPath(path);
    expect(existsSync(path)).toBe(false);

    const live = createServer().listen(path);
    await new Promise((resolve) => live.once('listening', resolve));
    expect(await refusal(() => freeSocketPath(path))).toMatchObject({
      code: 'VTEP_ERR_SOCKET_IN_USE',
      message: expect.stringContaining(path),
    });
    expect(existsSync(path)).toBe(true);
    await new Promise((resolve) => live.close(resolve));

    writeFileSync(path, 'mine');
    expect((await refusal(() => freeSocketPath(path))).message).toContain('is not a socket');
    expect(existsSync(path)).toBe(true);
  });
});

describe('the lifecycle', () => {
  const lines: string[] = [];
  const logger = createLogger({ level: 'debug', format: 'json', stream: { write: (line) => void lines.push(line) } });
  const events = () => lines.map((line) => JSON.parse(line).event);

  it('stops in reverse, also past a part that fails and one that hangs', async () => {
    lines.length = 0;
    const order: string[] = [];
    const lifecycle = new Lifecycle({ logger, closeMillisecondsMax: 50 });
    const part = (name: string, close: () => Promise<void>) =>
      lifecycle.start(name, async () => ({
        close: () => {
          order.push(name);
          return close();
        },
      }));
    await part('first', async () => {});
    await part('failing', () => Promise.reject(new Error('no')));
    await part('hanging', () => new Promise(() => {}));
    await part('last', async () => {});
    const [clean, again] = await Promise.all([lifecycle.stop(), lifecycle.stop()]);
    expect(order).toEqual(['last', 'hanging', 'failing', 'first']);
    expect([clean, again]).toEqual([false, false]);
    expect(events().filter((event) => event === 'daemon.stop-failed')).toHaveLength(2);
  });

  it('a signal ends the waiting; during start-up it stops before the next part; a second one gives up', async () => {
    let gaveUp = 0;
    const lifecycle = new Lifecycle({ logger, giveUp: () => gaveUp++ });
    const closed: string[] = [];
    const started = lifecycle.start('slow', async () => {
      process.kill(process.pid, 'SIGTERM');
      await lifecycle.untilStopRequested();
      return { close: async () => void closed.push('slow') };
    });
    await expect(started).rejects.toBeInstanceOf(StopRequested);
    await expect(lifecycle.start('next', () => Promise.reject(new Error('must not start')))).rejects.toBeInstanceOf(
      StopRequested,
    );
    expect(await lifecycle.untilStopRequested()).toBe('SIGTERM');
    const listeners = process.listenerCount('SIGTERM');
    process.emit('SIGTERM', 'SIGTERM');
    expect(gaveUp).toBe(1);
    expect(await lifecycle.stop()).toBe(true);
    expect(closed).toEqual(['slow']);
    expect(process.listenerCount('SIGTERM')).toBe(listeners - 1);
  });
});

describe('the log', () => {
  function logged(format: 'json' | 'text', log: (logger: ReturnType<typeof createLogger>) => void): string {
    let text = '';
    const stream = {
      write(line: string) {
        text += line;
      },
    };
    log(createLogger({ level: 'info', format, stream }));
    return text;
  }

  it('as JSON: one object a line, levels by name, no token', () => {
    const text = logged('json', (logger) => {
      logger.debug({ event: 'too.low' }, 'not shown');
      logger.info({ event: 'daemon.ready', token: 's3cret', deep: { token: 's3cret' } }, 'ready');
    });
    expect(text.trim().split('\n')).toHaveLength(1);
    expect(JSON.parse(text)).toMatchObject({ level: 'info', event: 'daemon.ready', msg: 'ready' });
    expect(text).not.toContain('s3cret');
  });

  it('as text: one line, control characters made harmless', () => {
    const text = logged('text', (logger) => {
      logger.warn({ event: 'a.b', node: 'cdh1', reason: 'two words\n\u001b[2J', count: 3 }, 'it\nhappened\u001b[2J');
    });
    expect(text).toMatch(
      /^\d\d:\d\d:\d\d\.\d{3} WARN {2}a\.b it happened \[2J node=cdh1 reason="two words\\n\\u001b\[2J" count=3\n$/,
    );
  });

  it('as text: an error that is expected by its message, a defect with its place', () => {
    const expected = logged('text', (logger) => logger.error({ err: new VtepError('VTEP_ERR_KERNEL', 'no') }, 'x'));
    expect(expected).toContain('error=no');
    expect(expected).not.toContain('at=');
    const defect = logged('text', (logger) => logger.error({ err: new TypeError('oops') }, 'x'));
    expect(defect).toMatch(/error=oops at="?.*config-host\.test\.ts/);
    expect(defect.trim().split('\n')).toHaveLength(1);
  });

  it('a line without anything but a time is still a line', () => {
    expect(formatText('{"level":"info","time":"2026-01-01T12:00:00.123Z"}')).toBe('12:00:00.123 INFO ');
  });
});
