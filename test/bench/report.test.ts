/** What the end-to-end benchmark is told, and what it tells: options, systems, tables, JSON, the chart. */
import { describe, expect, it } from 'vitest';
import { FIGURES, GROUPS } from '../../bench/e2e/figures.js';
import { namesOf, parseOptions, UsageError } from '../../bench/e2e/options.js';
import { drawChart } from '../../bench/e2e/report/chart.js';
import { reportJson } from '../../bench/e2e/report/json.js';
import { Results } from '../../bench/e2e/report/results.js';
import { ratioText, resultTables } from '../../bench/e2e/report/tables.js';
import { checkSystem, type System } from '../../bench/e2e/system.js';

const up = async () => {
  throw new Error('never brought up');
};
const SYSTEMS: System[] = [
  { name: 'kernel', label: 'the kernel <&"\'>', up },
  { name: 'ours', label: 'ours', comparedWith: ['kernel', 'absent'], up },
];

function sampleResults(): Results {
  const results = new Results(SYSTEMS);
  for (const { id } of FIGURES) {
    for (const [round, value] of [10, 20, 40].entries()) results.add(id, 'kernel', round + 1, value);
    for (const [round, value] of [5, 5, 30].entries()) results.add(id, 'ours', round + 1, value);
  }
  return results;
}

describe('options', () => {
  const parse = (...args: string[]) => parseOptions(args, '/default.json');

  it('have defaults', () => {
    expect(parse()).toEqual({
      ...{ rounds: 5, seconds: 4, stepSeconds: 1, pingCount: 1000, idleSeconds: 10, only: GROUPS, systems: undefined },
      ...{ systemPaths: [], vtepdArgs: [], jsonPath: '/default.json', chartPath: undefined, quick: false },
    });
  });

  it('are read', () => {
    const options = parse('--quick', '--seconds', '2', '--only', 'tcp1, rtt', '--vtepd-args', '--workers 2');
    expect(options).toMatchObject({ rounds: 1, seconds: 2, only: ['tcp1', 'rtt'], vtepdArgs: ['--workers', '2'] });
    expect(parse('--systems', 'a,b', '--system', 'x.mjs', '--system', 'y.mjs')).toMatchObject({
      systems: ['a', 'b'],
      systemPaths: ['x.mjs', 'y.mjs'],
    });
    expect(parse('--chart', 'a.svg', '--json', 'b.json')).toMatchObject({ chartPath: 'a.svg', jsonPath: 'b.json' });
    expect(parse('--help')).toBe('help');
  });

  it.each([
    [['--rounds', '0'], '--rounds 0: must be a whole number from 1 to 1000'],
    [['--seconds', 'x'], '--seconds x: must be a whole number from 1 to 3600'],
    [['--only', 'tcp1,ping'], 'there is no "ping"; there are tcp1, tcp4, udp, paced, pacedGso, rtt, cpu, idle'],
    [['--only', ''], 'there is no ""'],
    [['--fast'], "Unknown option '--fast'"],
    [['--rounds'], "Option '--rounds <value>' argument missing"],
    [['extra'], 'extra'],
  ])('refuse %j in one line', (args, message) => {
    expect(() => parse(...args)).toThrow(UsageError);
    expect(() => parse(...args)).toThrow(message);
    expect(() => parse(...args)).toThrow(/^[^\n]+$/);
  });

  it('name systems that there are', () => {
    expect(namesOf('--systems', 'b,a,b', ['a', 'b'])).toEqual(['b', 'a']);
    expect(() => namesOf('--systems', 'c', ['a', 'b'])).toThrow('--systems c: there is no "c"; there are a, b');
  });
});

describe('a file of a system', () => {
  it('is taken with name, label and up', () => {
    expect(checkSystem({ name: 'my-vpn', label: 'my VPN', up }, 'a.mjs').name).toBe('my-vpn');
  });

  it.each([
    [{ label: 'x', up }, 'must export name'],
    [{ name: 'My VPN', label: 'x', up }, 'must export name'],
    [{ name: 'x', up }, 'must export label'],
    [{ name: 'x', label: 'x' }, 'must export up'],
    [{ name: 'x', label: 'x', up, down: 1 }, 'down must be a function'],
    [{ name: 'x', label: 'x', up, comparedWith: 'y' }, 'comparedWith must be an array'],
  ])('is refused: %j', (exported, message) => {
    expect(() => checkSystem(exported, 'a.mjs')).toThrow(`a.mjs is no system`);
    expect(() => checkSystem(exported, 'a.mjs')).toThrow(message);
  });
});

describe('tables', () => {
  it('show medians, ranges, and the ratios of those that took part', () => {
    const text = resultTables(sampleResults());
    expect(text).toMatch(/TCP, 1 stream +Gbit\/s +20\.00 \(10\.00-40\.00\) +5\.00 \(5\.00-30\.00\)/);
    expect(text).toContain('ours : kernel');
    expect(text).not.toContain('absent');
    expect(text).toMatch(/TCP, 1 stream +higher +0\.500/);
  });

  it('round a ratio to what it says', () => {
    expect([0.0553, 0.612, 12.34, 456.7, undefined].map(ratioText)).toEqual(['0.055', '0.612', '12.3', '457', '-']);
  });
});

it('the JSON has the machine, each sample and the ratios', () => {
  const machine = { date: 'now', coreCount: 2, cpuModel: 'x', kernel: '6', node: '20' };
  const options = parseOptions([], '/j');
  const idle = [{ system: 'ours', daemon: 'd', networks: 10, percentOfCore: 0.1 }];
  const json = JSON.parse(reportJson(machine, options as Exclude<typeof options, 'help'>, sampleResults(), idle));
  expect(json.machine).toEqual(machine);
  expect(json.figures.tcp1.systems.ours).toEqual({ median: 5, min: 5, max: 30, samples: [5, 5, 30] });
  expect(json.figures.tcp1.ratios).toEqual([{ system: 'ours', baseline: 'kernel', ratio: 0.5 }]);
  expect(json.idle).toEqual(idle);
});

describe('the chart', () => {
  const caption = '2 cores <x>';
  const svg = drawChart(sampleResults(), caption);

  /** A reader of the XML that the chart is made of: tags, attributes, text. @throws Error if it is not well-formed */
  function textsOf(xml: string): string[] {
    const open: string[] = [];
    const texts: string[] = [];
    const token = /<(\/?)([\w:]+)((?: [\w:-]+="[^"<>]*")*)(\/?)>|([^<>]+)/gy;
    let at = 0;
    for (let match = token.exec(xml); match !== null; match = token.exec(xml)) {
      const [whole, closing, tag, , single, content] = match;
      at += whole.length;
      if (content !== undefined) {
        if (/&(?!(amp|lt|gt|quot|apos);)/.test(content)) throw new Error(`a bare & in ${content}`);
        if (open.at(-1) === 'text') texts.push(content);
      } else if (closing === '/') {
        if (open.pop() !== tag) throw new Error(`</${tag}> closes nothing`);
      } else if (single !== '/') open.push(tag!);
    }
    if (at !== xml.length || open.length > 0) throw new Error(`not well-formed at ${xml.slice(at, at + 40)}`);
    return texts;
  }

  it('is well-formed and has every label and number', () => {
    const texts = textsOf(svg);
    for (const { title, unit, better, digits } of FIGURES.filter(({ charted }) => charted)) {
      expect(texts).toContain(title);
      expect(texts).toContain(`${unit}, ${better} is better`);
      expect(texts).toContain((20).toFixed(digits));
      expect(texts).toContain((5).toFixed(digits));
    }
    expect(texts).toContain('the kernel &lt;&amp;&quot;&apos;&gt;');
    expect(texts).toContain('ours');
    expect(texts).toContain('2 cores &lt;x&gt;');
  });

  it('keeps its bars and numbers inside, and has both colour schemes', () => {
    const width = Number(/viewBox="0 0 (\d+)/.exec(svg)![1]);
    const numbers = [...svg.matchAll(/<text x="(\d+)"[^>]*>[\d.]+</g)].map((match) => Number(match[1]));
    // Two columns; a number has room for eight digits.
    expect(Math.max(...numbers)).toBeLessThan(width / 2 - 50);
    const longest = { name: 'x', label: 'M'.repeat(32), up };
    const results = new Results([longest]);
    results.add('tcp1', 'x', 1, 1);
    const labelEnd = Number(/<text x="(\d+)"[^>]*>M+</.exec(drawChart(results, caption))![1]);
    expect(labelEnd).toBeGreaterThan(32 * 6.5);
    expect(svg).toContain('prefers-color-scheme: dark');
  });

  it('is drawn of nothing, too', () => {
    expect(textsOf(drawChart(new Results(SYSTEMS), caption))).toHaveLength(2);
  });
});
