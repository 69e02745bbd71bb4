/**
 * The results as a picture: an SVG of panels, one a figure, with a horizontal bar a system.
 *
 *     ┌ title ───────────────────────────────┐
 *     │ TCP, 1 stream             panel 2    │      bar: the median
 *     │ Gbit/s, higher is better             │      thin line over its end: from the least to the most
 *     │   label ▇▇▇▇▇▇▇▇─ 14.6               │
 *     └ caption ─────────────────────────────┘
 *
 * It brings its own background and both colour schemes, so that it is readable on any page.
 */
import type { Figure } from '../figures.js';
import type { Results, Summary } from './results.js';

const COLUMNS = 2;
const MARGIN = 24;
/** No letter of the usual fonts is wider on average. */
const LETTER_WIDTH = 6.6;
/** Room for the number right of the longest bar. */
const VALUE_WIDTH = 64;
const BAR_WIDTH_MAX = 222;
const HEAD_HEIGHT = 48;
const ROW_HEIGHT = 22;
const BAR_HEIGHT = 14;
const PANEL_GAP = 22;
const TITLE_HEIGHT = 56;
const CAPTION_HEIGHT = 34;
/** Fonts that are there on the usual systems; the widths above fit them all. */
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif";
/** Bars, in the order of the systems: greys and blues for what is in the kernel, then warm ones. */
const COLOURS = ['#8b96a5', '#5b8bd0', '#2f5fae', '#f2a65a', '#e06c1b', '#8e6bbf', '#4f9d69', '#b5495b'];

const STYLE = `
    text { font: 12px ${FONT}; fill: #1f2933; }
    .title { font-size: 17px; font-weight: 600; }
    .figure { font-size: 13px; font-weight: 600; }
    .quiet { fill: #616e7c; font-size: 11px; }
    .back { fill: #ffffff; stroke: #d9e0e8; }
    .axis { stroke: #cbd2d9; }
    .range { stroke: #1f2933; stroke-width: 1.2; opacity: 0.75; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e4e7eb; }
      .quiet { fill: #9aa5b1; }
      .back { fill: #14181d; stroke: #323f4b; }
      .axis { stroke: #3e4c59; }
      .range { stroke: #e4e7eb; }
    }
  `;

const ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&apos;' };

const escapeXml = (text: string): string => text.replace(/[&<>"']/g, (character) => ESCAPES[character]!);

function text(x: number, y: number, content: string, attributes = ''): string {
  return `<text x="${x}" y="${y}"${attributes && ` ${attributes}`}>${escapeXml(content)}</text>`;
}

interface Bar {
  readonly label: string;
  readonly colour: string;
  readonly summary: Summary;
}

function barsOf(results: Results, { id }: Figure): Bar[] {
  return results.systems.flatMap(({ name, label }, index) => {
    const summary = results.summary(id, name);
    return summary === undefined ? [] : [{ label, summary, colour: COLOURS[index % COLOURS.length]! }];
  });
}

function drawBar(bar: Bar, top: number, scale: number, digits: number, labelWidth: number): string[] {
  const { median, min, max } = bar.summary;
  const middle = top + BAR_HEIGHT / 2;
  const at = (value: number) => labelWidth + value * scale;
  const parts = [
    text(labelWidth - 8, middle + 4, bar.label, 'text-anchor="end"'),
    // A bar too short to see is still a bar.
    `<rect x="${labelWidth}" y="${top}" width="${Math.max(1, median * scale).toFixed(1)}" height="${BAR_HEIGHT}" rx="2" fill="${bar.colour}"/>`,
  ];
  const isRange = max > min;
  if (isRange) {
    parts.push(
      `<line class="range" x1="${at(min).toFixed(1)}" x2="${at(max).toFixed(1)}" y1="${middle}" y2="${middle}"/>`,
    );
  }
  parts.push(text(Math.ceil(at(isRange ? max : median)) + 6, middle + 4, median.toFixed(digits)));
  return parts;
}

function drawPanel(figure: Figure, bars: readonly Bar[], labelWidth: number): string[] {
  const most = Math.max(...bars.map(({ summary }) => summary.max));
  const scale = most > 0 ? BAR_WIDTH_MAX / most : 0;
  const rowsTop = HEAD_HEIGHT;
  const axisBottom = rowsTop + bars.length * ROW_HEIGHT - (ROW_HEIGHT - BAR_HEIGHT) + 3;
  return [
    text(0, 16, figure.title, 'class="figure"'),
    text(0, 33, `${figure.unit}, ${figure.better} is better`, 'class="quiet"'),
    ...bars.flatMap((bar, index) => drawBar(bar, rowsTop + index * ROW_HEIGHT, scale, figure.digits, labelWidth)),
    `<line class="axis" x1="${labelWidth}" x2="${labelWidth}" y1="${rowsTop - 3}" y2="${axisBottom}"/>`,
  ];
}

/** @param caption one line below: the machine. */
export function drawChart(results: Results, caption: string): string {
  const figures = results.figures().filter(({ charted }) => charted);
  const barCountMax = Math.max(1, ...figures.map((figure) => barsOf(results, figure).length));
  const panelHeight = HEAD_HEIGHT + barCountMax * ROW_HEIGHT + PANEL_GAP;
  const columns = Math.min(COLUMNS, Math.max(1, figures.length));
  const labelWidth = Math.ceil(Math.max(...results.systems.map(({ label }) => label.length)) * LETTER_WIDTH) + 12;
  const panelWidth = labelWidth + BAR_WIDTH_MAX + VALUE_WIDTH + MARGIN;
  const width = MARGIN + columns * panelWidth;
  const height = TITLE_HEIGHT + Math.ceil(figures.length / columns) * panelHeight + CAPTION_HEIGHT;
  const panels = figures.map((figure, index) => {
    const x = MARGIN + (index % columns) * panelWidth;
    const y = TITLE_HEIGHT + Math.floor(index / columns) * panelHeight;
    const parts = drawPanel(figure, barsOf(results, figure), labelWidth);
    return [`  <g transform="translate(${x} ${y})">`, ...parts.map((part) => `    ${part}`), '  </g>'].join('\n');
  });
  const title = columns === 1 ? 'vtep, end to end' : "vtep beside the kernel's VXLAN, end to end";
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `  <title>${escapeXml(title)}</title>`,
    `  <style>${STYLE}</style>`,
    `  <rect class="back" x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="8"/>`,
    `  ${text(MARGIN, 34, title, 'class="title"')}`,
    ...panels,
    `  ${text(MARGIN, height - 16, caption, 'class="quiet"')}`,
    '</svg>',
  ].join('\n')}\n`;
}
