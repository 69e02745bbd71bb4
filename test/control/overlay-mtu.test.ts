/** The overlay's MTU by the underlay's and its families: RFC 7348's headers added up. */
import { expect, it } from 'vitest';
import { overlayMtuBytes, overlayOverheadBytes } from '../../src/control/overlay-mtu.js';

it.each([
  [1500, [4], 1450],
  [1500, [6], 1430],
  [1500, [4, 6], 1430],
  [9000, [4], 8950],
  [9000, [6, 4], 8930],
] as const)('an underlay of %i bytes with IPv%j leaves %i', (underlay, families, overlay) => {
  expect(overlayMtuBytes(underlay, families)).toBe(overlay);
  expect(underlay - overlayOverheadBytes(families)).toBe(overlay);
});
