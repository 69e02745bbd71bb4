/**
 * Rows of the VTEP table with the number of users of each. Main thread.
 *
 * A row whose last user goes is unpublished at once and reused only after every worker has passed the epoch.
 */
import { isIPv4 } from 'node:net';
import { SELF_VTEP } from '../shared/layout.js';
import type { VtepWriter } from '../shared/writers/vtep-writer.js';
import { parseIPv4 } from '../wire/ip-address.js';
import { VtepError } from './errors.js';
import type { VtepAddress } from './forwarding.js';

interface Row {
  readonly index: number;
  readonly address: string;
  port: number;
  users: number;
}

export class VtepRegistrar {
  readonly #writer: VtepWriter;
  readonly #settle: () => Promise<void>;
  readonly #onNew: (index: number) => void;
  readonly #byAddress = new Map<string, Row>();
  readonly #byIndex: (Row | undefined)[] = [];

  /**
   * @param settle resolves when no worker holds an index that was unpublished before, nor any event tells of it
   * @param onNew called with the index of each row that gets an owner
   */
  constructor(writer: VtepWriter, settle: () => Promise<void>, onNew: (index: number) => void) {
    this.#writer = writer;
    this.#settle = settle;
    this.#onNew = onNew;
  }

  /** @returns the VTEP's index, one user more. @throws VtepError VTEP_ERR_INVALID, VTEP_ERR_TABLE_FULL */
  acquire(vtep: VtepAddress): number {
    const known = this.#byAddress.get(vtep.address);
    if (known !== undefined) {
      if (known.port !== vtep.port) {
        this.#writer.setPort(known.index, vtep.port);
        known.port = vtep.port;
      }
      known.users++;
      return known.index;
    }
    if (!isIPv4(vtep.address)) {
      throw new VtepError('VTEP_ERR_INVALID', `VTEP address "${vtep.address}" must be an IPv4 address`);
    }
    const index = this.#writer.add(Uint8Array.from(parseIPv4(vtep.address)), vtep.port);
    if (index < 0) throw new VtepError('VTEP_ERR_TABLE_FULL', `the VTEP table is full: no room for ${vtep.address}`);
    const row = { index, address: vtep.address, port: vtep.port, users: 1 };
    this.#byAddress.set(vtep.address, row);
    this.#byIndex[index] = row;
    this.#onNew(index);
    return index;
  }

  /** A multicast group of the underlay, which is sent to as a VTEP is. @returns as acquire */
  acquireGroup(group: VtepAddress): number {
    return this.acquire(group);
  }

  release(index: number): void {
    const row = this.#byIndex[index];
    if (row === undefined || --row.users > 0) return;
    if (this.#byAddress.get(row.address) === row) this.#byAddress.delete(row.address);
    this.#byIndex[index] = undefined;
    this.#writer.unpublish(index);
    void this.#settle().then(() => this.#writer.release(index));
  }

  /**
   * This host has another address. A row of that address is another host's of before, which has lost it: it goes by its
   * index alone, until its users let go.
   */
  moveSelf(address: string): void {
    const self = this.#byIndex[SELF_VTEP];
    if (self === undefined || self.address === address) return;
    const stale = this.#byAddress.get(address);
    if (stale !== undefined) this.#writer.unpublish(stale.index);
    this.#byAddress.delete(self.address);
    const row = { ...self, address };
    this.#byAddress.set(address, row);
    this.#byIndex[SELF_VTEP] = row;
    this.#writer.setAddress(SELF_VTEP, Uint8Array.from(parseIPv4(address)));
  }

  get(index: number): VtepAddress | undefined {
    return this.#byIndex[index];
  }

  *rows(): IterableIterator<readonly [number, VtepAddress]> {
    for (const row of this.#byAddress.values()) yield [row.index, row];
  }
}
