/** The size that a container's superframes get, by what the kernel makes of it. */
import { describe, expect, it } from 'vitest';
import { gsoMaxBytesFor } from '../../../src/control/ports/gso-size.js';

/** Segments of one superframe: tcp_xmit_size_goal over sk_gso_max_size. */
const segmentsMade = (gsoMaxBytes: number, mssBytes: number) => Math.floor((gsoMaxBytes - 321) / mssBytes);

describe('the size of superframes', () => {
  it.each([
    [576, 64],
    [1280, 50],
    [1450, 44],
    [1430, 45],
    [8950, 7],
  ])('for an MTU of %i bytes is as many segments as one message holds: %i', (mtuBytes, segments) => {
    const gsoMaxBytes = gsoMaxBytesFor(mtuBytes);
    expect(segmentsMade(gsoMaxBytes, mtuBytes - 52)).toBe(segments);
    for (const headerBytes of [40, 52, 60, 72]) {
      const made = segmentsMade(gsoMaxBytes, mtuBytes - headerBytes);
      expect(made * (mtuBytes + 22), `headers of ${headerBytes} bytes`).toBeLessThanOrEqual(65_507 + 22);
      expect(made, `headers of ${headerBytes} bytes`).toBeGreaterThanOrEqual(segments * 0.95 - 1);
    }
  });

  it('is the kernel default where no two segments fit', () => {
    expect(gsoMaxBytesFor(40_000)).toBe(65_536);
  });
});
