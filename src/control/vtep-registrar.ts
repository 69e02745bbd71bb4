/**
 * Rows of the VTEP table with the number of users of each. Main thread.
 *
 * A row is known by the address that is sent to. A VTEP's address of the other family only finds its row for datagrams that
 * come from there; a VTEP that is sent to at that address has it instead. A row whose last user goes is unpublished at once
 * and reused only after every worker has passed the epoch.
 */
import { SELF_VTEP } from '../shared/layout.js';
import type { VtepWriter } from '../shared/writers/vtep-writer.js';
import { formatIp, parseIp } from '../wire/ip-address.js';
import { VtepError } from './errors.js';
import { allIps, familyOf, type VtepAddress, type VtepIps, whyNoVtep } from './vtep-address.js';

interface Row {
  readonly index: number;
  readonly address: string;
  port: number;
  /** Found by it too. */
  otherAddress?: string | undefined;
  users: number;
}

export class VtepRegistrar {
  readonly #writer: VtepWriter;
  readonly #settle: () => Promise<void>;
  readonly #onNew: (index: number) => void;
  /** This host's row has each of its addresses here, another's the one that is sent to. */
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

  /** This host's row, the first of all. @throws VtepError VTEP_ERR_INVALID */
  acquireSelf({ address, port, otherAddress }: VtepAddress): void {
    const row = this.#byIndex[this.acquire({ address, port })] as Row;
    if (otherAddress !== undefined) this.moveSelf({ ip: row.address, otherIp: otherAddress });
  }

  /** @returns the VTEP's index, one user more. @throws VtepError VTEP_ERR_INVALID, VTEP_ERR_TABLE_FULL */
  acquire(vtep: VtepAddress): number {
    const row = this.#use(addressBytes(vtep.address), vtep.port);
    if (row.index === SELF_VTEP) return row.index;
    if (row.port !== vtep.port) {
      this.#writer.setPort(row.index, vtep.port);
      row.port = vtep.port;
    }
    this.#setOther(row, vtep.otherAddress);
    return row.index;
  }

  #use(bytes: Uint8Array, port: number): Row {
    const address = formatIp(bytes);
    const row = this.#byAddress.get(address) ?? this.#add(bytes, address, port);
    row.users++;
    return row;
  }

  #add(bytes: Uint8Array, address: string, port: number): Row {
    const index = this.#writer.add(bytes, port);
    if (index < 0) throw new VtepError('VTEP_ERR_TABLE_FULL', `the VTEP table is full: no room for ${address}`);
    const row = { index, address, port, users: 0 };
    this.#byAddress.set(address, row);
    this.#byIndex[index] = row;
    this.#takeFromOthers(row, address);
    this.#onNew(index);
    return row;
  }

  /** What the last user says counts. */
  #setOther(row: Row, text: string | undefined): void {
    const bytes = text === undefined ? undefined : addressBytes(text);
    const address = bytes && formatIp(bytes);
    if (address === row.otherAddress) return;
    if (row.otherAddress !== undefined) this.#clearOther(row);
    if (address === undefined || bytes === undefined || this.#byAddress.has(address)) return;
    this.#takeFromOthers(row, address);
    row.otherAddress = address;
    this.#writer.setSource(row.index, bytes);
  }

  #takeFromOthers(taker: Row, address: string): void {
    // The index has gone over to the taker, or will: only the old row's own word is left.
    for (const row of this.#byIndex)
      if (row !== undefined && row !== taker && row.otherAddress === address) this.#clearOther(row);
  }

  #clearOther(row: Row): void {
    this.#writer.clearSource(row.index, familyOf(row.otherAddress as string));
    row.otherAddress = undefined;
  }

  /** A multicast group of the underlay, which is sent to as a VTEP is. @returns as acquire */
  acquireGroup({ address, port }: VtepAddress): number {
    return this.#use(parseIp(address), port).index;
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
   * This host has other addresses. A row of such an address is another host's of before, which has lost it: it goes by its
   * index alone, until its users let go.
   */
  moveSelf(ips: VtepIps): void {
    const self = this.#byIndex[SELF_VTEP];
    if (self === undefined) return;
    const [address, otherAddress] = allIps(ips).map((ip) => formatIp(addressBytes(ip)));
    const row: Row = { ...self, address: address as string, otherAddress };
    for (const old of [self.address, self.otherAddress]) if (old !== undefined) this.#byAddress.delete(old);
    this.#byIndex[SELF_VTEP] = row;
    for (const own of [row.address, row.otherAddress]) {
      if (own === undefined) continue;
      this.#takeFromOthers(row, own);
      this.#byAddress.set(own, row);
      this.#writer.setSource(SELF_VTEP, parseIp(own));
    }
  }

  get(index: number): VtepAddress | undefined {
    return this.#byIndex[index];
  }

  *rows(): IterableIterator<readonly [number, VtepAddress]> {
    for (const row of new Set(this.#byAddress.values())) yield [row.index, row];
  }
}

function addressBytes(text: string): Uint8Array {
  const rule = whyNoVtep(text);
  if (rule !== undefined) throw new VtepError('VTEP_ERR_INVALID', `VTEP address "${text}" ${rule}`);
  return parseIp(text);
}
