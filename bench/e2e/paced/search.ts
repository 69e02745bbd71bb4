/** The highest rate of a ladder that holds: by halving, then confirmed twice. */

/** Thousands of packets a second: fine steps where slow systems are, then 50 by 50. */
export const LADDER_KPPS: readonly number[] = [10, 25, 50, 75, ...Array.from({ length: 59 }, (_, i) => 100 + i * 50)];

const CONFIRMATIONS = 2;

/**
 * Halving takes for granted that what fails at one rate fails above it; one bad moment can make it miss upwards, which
 * the next round's search does not repeat. The confirmations keep it from believing one lucky moment.
 *
 * @returns undefined if the lowest fails too
 */
export async function searchHighest(
  ladder: readonly number[],
  holds: (rate: number) => Promise<boolean>,
): Promise<number | undefined> {
  let low = -1;
  let high = ladder.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (await holds(ladder[middle]!)) low = middle;
    else high = middle;
  }
  for (; low >= 0; low--) {
    let confirmed = 0;
    while (confirmed < CONFIRMATIONS && (await holds(ladder[low]!))) confirmed++;
    if (confirmed === CONFIRMATIONS) return ladder[low];
  }
  return undefined;
}
