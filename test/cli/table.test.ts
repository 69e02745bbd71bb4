/** Tables and durations as people read them. */
import { describe, expect, it } from 'vitest';
import { formatDuration, formatFields, formatTable } from '../../src/cli/table.js';

describe('the table', () => {
  it('aligns by the widest cell and leaves no blanks at the end', () => {
    expect(
      formatTable(
        ['A', 'BB'],
        [
          ['long', ''],
          ['x', 'y'],
        ],
      ),
    ).toBe('A     BB\nlong\nx     y\n');
    expect(formatTable(['A'], [])).toBe('A\n');
    expect(
      formatFields([
        ['a', '1'],
        ['long', 'x'],
        ['no', undefined],
        ['empty', ''],
      ]),
    ).toBe('a     1\nlong  x\n');
  });

  it.each([
    [0, '0s'],
    [0.9, '0s'],
    [59, '59s'],
    [3600, '1h 0m 0s'],
    [90_061, '1d 1h 1m 1s'],
  ])('%d seconds', (seconds, text) => {
    expect(formatDuration(seconds)).toBe(text);
  });
});
