/** The end-to-end benchmark's arithmetic: statistics, the search, the pace, and what it reads of other programs. */
import { describe, expect, it } from 'vitest';
import { parseBusySeconds } from '../../bench/e2e/measure/cpu.js';
import { parseProcessSeconds } from '../../bench/e2e/measure/foreign.js';
import { gbitPerSecond, parseIperf3, smallKpps } from '../../bench/e2e/measure/iperf3.js';
import { parsePing } from '../../bench/e2e/measure/ping.js';
import { Pace, TICK_SECONDS } from '../../bench/e2e/paced/pace.js';
import { pacedRun } from '../../bench/e2e/paced/paced-pair.js';
import { LADDER_KPPS, searchHighest } from '../../bench/e2e/paced/search.js';
import { median, medianRatio, percentile, range } from '../../bench/e2e/statistics.js';

describe('statistics', () => {
  it('take the middle, or the mean of the two middle ones', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([10, 9, 1, 2])).toBe(5.5);
    expect(median([7])).toBe(7);
    expect(median([])).toBeUndefined();
  });

  it('leave out what a round did not give', () => {
    expect(median([undefined, 4, undefined])).toBe(4);
    expect(range([undefined, 4, 2])).toEqual({ min: 2, max: 4 });
    expect(range([undefined])).toBeUndefined();
  });

  it('take percentiles by nearest rank', () => {
    const values = Array.from({ length: 100 }, (_, i) => i + 1);
    expect([50, 90, 99, 100].map((percent) => percentile(values, percent))).toEqual([50, 90, 99, 100]);
    expect(percentile([5], 1)).toBe(5);
    expect(() => percentile([], 50)).toThrow(RangeError);
  });

  it('divide round by round, not the medians', () => {
    // The medians are 2 and 4; the rounds' ratios are 1, 0.2 and 0.9.
    expect(medianRatio([1, 2, 9], [1, 10, 10])).toBe(0.9);
    expect(medianRatio([1, undefined, 3], [2, 2, undefined])).toBe(0.5);
    expect(medianRatio([1], [0])).toBeUndefined();
  });
});

describe('iperf3', () => {
  const report = (bytes: number, seconds: number) =>
    JSON.stringify({ end: { sum_sent: { bytes: 1, seconds }, sum_received: { bytes, seconds } } });

  it('counts what was received', () => {
    expect(gbitPerSecond(parseIperf3(report(2.5e9, 2)))).toBe(10);
    expect(smallKpps(parseIperf3(report(64 * 500_000, 2)))).toBe(250);
  });

  it('is refused with its own words', () => {
    expect(() => parseIperf3('{"error":"unable to connect"}')).toThrow('iperf3: unable to connect');
    expect(() => parseIperf3('usage: iperf3')).toThrow('no JSON');
    expect(() => parseIperf3('{"end":{}}')).toThrow('no received sum');
  });
});

describe('ping', () => {
  const answer = (ms: number, i: number) =>
    `[1700000000.${i}] 64 bytes from 192.0.2.1: icmp_seq=${i} ttl=64 time=${ms} ms`;
  const summary = (sent: number, received: number) =>
    `--- 192.0.2.1 ping statistics ---\n${sent} packets transmitted, ${received} received, 0% packet loss, time 9ms`;

  it('gives each answer its time', () => {
    const text = [...[0.5, 0.1, 0.2, 12].map(answer), summary(5, 4)].join('\n');
    expect(parsePing(text)).toEqual({ sentCount: 5, receivedCount: 4, p50Ms: 0.2, p90Ms: 12, p99Ms: 12 });
  });

  it('without an answer is an error', () => {
    expect(() => parsePing(summary(5, 0))).toThrow('no answer');
  });
});

it('CPU time is what is neither idle, nor waiting, nor stolen', () => {
  const text = 'cpu  100 10 200 5000 70 3 40 900 50 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n';
  expect(parseBusySeconds(text)).toBeCloseTo(3.53);
  expect(() => parseBusySeconds('intr 1')).toThrow('no line');
});

it("others' CPU time is read behind any name, without the kernel's own threads", () => {
  const rest = (flags: number) => `S 1 1 1 0 -1 ${flags} 0 0 0 0 100 50 20 10 20 0 1 0 9`;
  expect(parseProcessSeconds(`7 (a) b) ${rest(0x400100)}`)).toBeCloseTo(1.8);
  expect(parseProcessSeconds(`2 (kthreadd) ${rest(0x208040)}`)).toBeUndefined();
});

describe('the paced sender', () => {
  it('sends at its rate when its ticks are on time', () => {
    const pace = new Pace(100_000);
    for (let tick = 1; tick <= 1000; tick++) pace.sent(pace.due(tick * TICK_SECONDS));
    expect(pace.sentCount).toBe(10_000);
  });

  it('makes up for a late tick at no more than twice the rate', () => {
    const pace = new Pace(100_000);
    expect(pace.due(0.005)).toBe(20);
  });

  it('does not make up for a long pause', () => {
    const pace = new Pace(100_000);
    for (let tick = 0; tick < 1000; tick++) pace.sent(pace.due(1 + tick * TICK_SECONDS));
    // 0.1 s of ticks at the rate, and 10 ms of debt.
    expect(pace.sentCount).toBeGreaterThan(10_900);
    expect(pace.sentCount).toBeLessThan(11_100);
  });

  it('tells offered, delivered and lost', () => {
    const run = pacedRun(100, 200_000, 199_000, 2);
    expect(run).toMatchObject({ targetKpps: 100, offeredKpps: 100, deliveredKpps: 99.5, lossPercent: 0.5 });
    expect(() => pacedRun(100, 0, 0, 1)).toThrow(RangeError);
  });
});

describe('the search of the highest rate', () => {
  const upTo = (limit: number) => async (rate: number) => rate <= limit;

  it('finds each rung, and what is below all', async () => {
    for (const rung of LADDER_KPPS) expect(await searchHighest(LADDER_KPPS, upTo(rung + 1))).toBe(rung);
    expect(await searchHighest(LADDER_KPPS, upTo(1))).toBeUndefined();
  });

  it('goes down when a rate held only once', async () => {
    const tried: number[] = [];
    const holds = async (rate: number) => {
      tried.push(rate);
      return rate <= 20 || (rate === 30 && tried.filter((other) => other === 30).length === 1);
    };
    expect(await searchHighest([10, 20, 30, 40], holds)).toBe(20);
    expect(tried).toEqual([20, 30, 40, 30, 20, 20]);
  });
});
