/** What vtepd tells systemd, and when it holds its tongue: the judge of life, the variables, the messages in time. */
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { LivenessJudge } from '../../src/control/liveness.js';
import { createLogger } from '../../src/control/log.js';
import { ServiceManager, takeServiceManager } from '../../src/control/service-manager.js';

const worker = (turns: number, id = 0, state = 'running') => ({ id, state, turns });

describe('the judge of life', () => {
  it('finds the one that has made no turn for that long, whatever the supervisor says of it', () => {
    const judge = new LivenessJudge(3000);
    expect(judge.look(0, [worker(1), worker(1, 1)])).toEqual([]);
    expect(judge.look(2000, [worker(2), worker(1, 1)])).toEqual([]);
    expect(judge.look(3000, [worker(2), worker(1, 1, 'failed')])).toEqual([
      { worker: 1, state: 'failed', silentMs: 3000 },
    ]);
    expect(judge.look(4000, [worker(3), worker(1, 1)])).toEqual([{ worker: 1, state: 'running', silentMs: 4000 }]);
    expect(judge.look(5000, [worker(4), worker(2, 1)])).toEqual([]);
  });

  it('takes a counter that wraps for life', () => {
    const judge = new LivenessJudge(1000);
    judge.look(0, [worker(0xffff_ffff)]);
    expect(judge.look(1000, [worker(0)])).toEqual([]);
  });

  it('property: a worker is stalled exactly if its last turn was seen stalledMs ago or earlier', () => {
    const looks = fc.array(fc.record({ afterMs: fc.nat(5000), turns: fc.nat(2) }), { maxLength: 30 });
    fc.assert(
      fc.property(looks, fc.integer({ min: 1, max: 8000 }), (steps, stalledMs) => {
        const judge = new LivenessJudge(stalledMs);
        let [now, turns, changedAt] = [0, 0, 0];
        judge.look(0, [worker(0)]);
        for (const step of steps) {
          now += step.afterMs;
          turns += step.turns;
          if (step.turns > 0) changedAt = now;
          const silentMs = now - changedAt;
          const expected = step.turns === 0 && silentMs >= stalledMs;
          expect(judge.look(now, [worker(turns)])).toEqual(expected ? [{ worker: 0, state: 'running', silentMs }] : []);
        }
      }),
    );
  });
});

describe('the variables', () => {
  const SOCKET = { NOTIFY_SOCKET: '/run/systemd/notify' };
  it.each<[Record<string, string>, unknown]>([
    [{}, undefined],
    [{ WATCHDOG_USEC: '30000000' }, undefined],
    [SOCKET, { socket: '/run/systemd/notify' }],
    [{ NOTIFY_SOCKET: '@name' }, { socket: '@name' }],
    [{ NOTIFY_SOCKET: 'vsock:2:1234' }, undefined],
    [{ NOTIFY_SOCKET: '@' }, undefined],
    [
      { ...SOCKET, WATCHDOG_USEC: '30000000' },
      { socket: '/run/systemd/notify', watchdogMs: 30_000 },
    ],
    [
      { ...SOCKET, WATCHDOG_USEC: '30000000', WATCHDOG_PID: '42' },
      { socket: '/run/systemd/notify', watchdogMs: 30_000 },
    ],
    [{ ...SOCKET, WATCHDOG_USEC: '30000000', WATCHDOG_PID: '43' }, { socket: '/run/systemd/notify' }],
    [{ ...SOCKET, WATCHDOG_USEC: '0' }, { socket: '/run/systemd/notify' }],
    [{ ...SOCKET, WATCHDOG_USEC: 'soon' }, { socket: '/run/systemd/notify' }],
  ])('%j', (env, expected) => {
    const all: NodeJS.ProcessEnv = { ...env, PATH: '/bin' };
    expect(takeServiceManager(all, 42)).toEqual(expected);
    expect(all).toEqual({ PATH: '/bin' });
  });
});

describe('the messages', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  function world(watchdogMs?: number) {
    const heard: string[] = [];
    const logged: string[] = [];
    const logger = createLogger({ level: 'info', format: 'json', stream: { write: (line) => logged.push(line) } });
    const state = { room: true, there: true, turns: 0, isTurning: true, outline: 'all well' };
    const send = (_socket: string, datagram: Uint8Array) => {
      if (!state.there) throw new Error('ECONNREFUSED');
      if (state.room) heard.push(Buffer.from(datagram).toString());
      return state.room;
    };
    const address = { socket: '/n', ...(watchdogMs === undefined ? {} : { watchdogMs }) };
    const manager = new ServiceManager(address, logger, send);
    const signs = {
      workers: () => [worker(state.isTurning ? ++state.turns : state.turns)],
      outline: () => state.outline,
    };
    const take = () => heard.splice(0);
    const pings = () => take().filter((message) => message.includes('WATCHDOG=1')).length;
    return { manager, signs, state, logged, take, pings };
  }

  it('ready, life at half of the time at the latest, a status that has changed, stopping', () => {
    const { manager, signs, state, take } = world(4000);
    manager.ready(signs);
    expect(take()).toEqual(['READY=1\nSTATUS=all well']);
    vi.advanceTimersByTime(1999);
    expect(take()).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(take()).toEqual(['WATCHDOG=1']);
    state.outline = 'the registry\nis away';
    vi.advanceTimersByTime(4000);
    expect(take()).toEqual(['WATCHDOG=1\nSTATUS=the registry is away', 'WATCHDOG=1']);
    manager.stopping('stops: SIGTERM');
    expect(take()).toEqual(['STOPPING=1\nSTATUS=stops: SIGTERM']);
    // Workers have ended by then; who waits for the last parts is still alive.
    state.isTurning = false;
    vi.advanceTimersByTime(20_000);
    expect(take()).toEqual(Array.from({ length: 10 }, () => 'WATCHDOG=1'));
    manager.close();
    vi.advanceTimersByTime(20_000);
    expect(take()).toEqual([]);
  });

  it('no life while a worker makes no turn; again when it does', () => {
    const { manager, signs, state, logged, take, pings } = world(30_000);
    manager.ready(signs);
    vi.advanceTimersByTime(60_000);
    expect(pings()).toBe(6);
    state.isTurning = false;
    // One look more finds it still within its time.
    vi.advanceTimersByTime(20_000);
    expect(take()).toEqual([
      'WATCHDOG=1',
      'STATUS=worker 0 has made no turn for 20 s (running): no sign of life is sent',
    ]);
    vi.advanceTimersByTime(60_000);
    expect(pings()).toBe(0);
    state.isTurning = true;
    vi.advanceTimersByTime(10_000);
    expect(take()).toEqual(['WATCHDOG=1\nSTATUS=all well']);
    expect(logged.map((line) => JSON.parse(line).event)).toEqual(['daemon.stalled', 'daemon.alive']);
    manager.close();
  });

  it('nobody watches: no pings, but the status', () => {
    const { manager, signs, state, take } = world();
    manager.ready(signs);
    state.outline = 'changed';
    vi.advanceTimersByTime(60_000);
    expect(take()).toEqual(['READY=1\nSTATUS=all well', 'STATUS=changed']);
    manager.close();
  });

  it('a receiver without room gets what counts later, in order, and no pile of pings', () => {
    const { manager, signs, state, take } = world(4000);
    state.room = false;
    manager.ready(signs);
    vi.advanceTimersByTime(20_000);
    manager.stopping('stops');
    state.room = true;
    vi.advanceTimersByTime(200);
    expect(take()).toEqual(['READY=1\nSTATUS=all well', 'STOPPING=1\nSTATUS=stops']);
    manager.close();
  });

  it('a receiver that is gone is logged once, and does no harm', () => {
    const { manager, signs, state, logged } = world(4000);
    state.there = false;
    manager.ready(signs);
    vi.advanceTimersByTime(20_000);
    expect(logged.map((line) => JSON.parse(line).event)).toEqual(['service-manager.unreachable']);
    manager.close();
  });

  it('without a service manager nothing is asked and nothing is sent', () => {
    const manager = new ServiceManager(undefined, createLogger({ level: 'silent', format: 'json' }), () => {
      throw new Error('sent');
    });
    const asked = () => {
      throw new Error('asked');
    };
    manager.ready({ workers: asked, outline: asked });
    manager.stopping('stops');
    manager.failed('why');
    expect(vi.getTimerCount()).toBe(0);
    manager.close();
  });
});
