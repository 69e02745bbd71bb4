/** Reads the workers' counters and sums them, for status and metrics. Main thread; a reading may be some frames old. */
import {
  Counters,
  DROP_COUNTERS_START,
  EVENTS_LOST,
  NETWORK_COUNTERS,
  TRAFFIC_COUNTERS,
  VTEP_COUNTER_NAMES,
  VTEP_COUNTERS,
  VTEP_COUNTERS_START,
} from '../shared/counters.js';
import { DROP_CAUSES } from '../shared/drop-causes.js';

type Named = Record<string, number>;

export class CounterReader {
  readonly #workers: readonly Counters[];
  /** What a row had counted when its network was closed: the row's next owner begins at 0, the totals go on. */
  readonly #baseline = new Map<number, Float64Array>();
  /** What a VTEP's row had counted when its owner came. */
  readonly #vtepBaseline = new Map<number, Float64Array>();
  #highestRow = 0;

  constructor(buffers: readonly SharedArrayBuffer[]) {
    this.#workers = buffers.map((buffer) => new Counters(buffer));
  }

  /** Traffic and drops over all networks, and what belonged to none. */
  totals(): { totals: Named; drops: Named } {
    const sums = new Float64Array(NETWORK_COUNTERS);
    for (let row = 0; row <= this.#highestRow; row++) {
      for (let counter = 0; counter < NETWORK_COUNTERS; counter++) {
        sums[counter] = (sums[counter] as number) + this.#cell(row * NETWORK_COUNTERS + counter);
      }
    }
    return { totals: traffic(sums), drops: drops(sums) };
  }

  /** Traffic, and the drops that are not 0 as `drop_<cause>`. */
  network(index: number): Named {
    const row = this.#row(index);
    const named = traffic(row);
    for (const [name, count] of Object.entries(drops(row))) if (count > 0) named[`drop_${name}`] = count;
    return named;
  }

  eventsLost(networkIndex: number): number {
    return this.#cell(networkIndex * NETWORK_COUNTERS + EVENTS_LOST);
  }

  vtep(index: number): Named {
    const start = VTEP_COUNTERS_START + index * VTEP_COUNTERS;
    const baseline = this.#vtepBaseline.get(index);
    return Object.fromEntries(
      VTEP_COUNTER_NAMES.map((name, i) => [name, this.#cell(start + i) - (baseline?.[i] ?? 0)]),
    );
  }

  /** A VTEP has taken the row: what its last owner counted is not its own. */
  useVtep(index: number): void {
    const start = VTEP_COUNTERS_START + index * VTEP_COUNTERS;
    this.#vtepBaseline.set(
      index,
      Float64Array.from({ length: VTEP_COUNTERS }, (_, i) => this.#cell(start + i)),
    );
  }

  /** A network has taken the row. */
  use(index: number): void {
    this.#highestRow = Math.max(this.#highestRow, index);
  }

  /** The row's network is closed. */
  retire(index: number): void {
    const row = new Float64Array(NETWORK_COUNTERS);
    for (let i = 0; i < NETWORK_COUNTERS; i++) row[i] = this.#cell(index * NETWORK_COUNTERS + i);
    this.#baseline.set(index, row);
  }

  #row(index: number): Float64Array {
    const row = new Float64Array(NETWORK_COUNTERS);
    const baseline = this.#baseline.get(index);
    for (let i = 0; i < NETWORK_COUNTERS; i++) {
      row[i] = this.#cell(index * NETWORK_COUNTERS + i) - (baseline?.[i] ?? 0);
    }
    return row;
  }

  #cell(cell: number): number {
    let sum = 0;
    for (const worker of this.#workers) sum += worker.cells[cell] as number;
    return sum;
  }
}

function traffic(row: Float64Array): Named {
  return Object.fromEntries(TRAFFIC_COUNTERS.map((name, i) => [name, row[i] as number]));
}

function drops(row: Float64Array): Named {
  return Object.fromEntries(DROP_CAUSES.map(({ id, name }) => [name, row[DROP_COUNTERS_START + id] as number]));
}
