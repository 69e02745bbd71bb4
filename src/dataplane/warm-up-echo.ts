/** The other VTEP of a warm-up: sends each message back as it came, a train of datagrams as a train. Cold. */
import {
  CMSG_DATA_WORD,
  CMSG_TYPE_WORD,
  GSO_CONTROL_BYTES,
  MSG_CONTROL_WORD,
  MSG_CONTROLLEN_WORD,
  MSG_DONTWAIT,
  MSG_IOV_WORD,
  MSG_IOVLEN_WORD,
  MSG_LEN_WORD,
  MSG_NAME_WORD,
  MSG_NAMELEN_WORD,
  prepareGsoControl,
  UDP_GRO,
} from '../sys/batch-io.js';
import { recvmmsg, sendmmsg } from '../sys/libc.js';
import { addressOf, writePointer } from '../sys/memory.js';
import { SOCKADDR_BYTES_MAX, writeSockaddr } from '../sys/sockaddr.js';
import { enableUdpGro } from '../sys/udp-offloads.js';

const BUFFER_BYTES = 66_000;
const CONTROL_BYTES = 64;

export class EchoPeer {
  readonly #fd: number;
  // Held here for as long as the kernel is given their addresses.
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  readonly #target = new Uint8Array(SOCKADDR_BYTES_MAX);
  readonly #iovec = new Int32Array(4);
  readonly #rxControl = new Int32Array(CONTROL_BYTES / 4);
  readonly #txControl = new Int32Array(CONTROL_BYTES / 4);
  readonly #rx = new Int32Array(16);
  readonly #tx = new Int32Array(16);
  readonly #rxAddress = addressOf(this.#rx);
  readonly #txAddress = addressOf(this.#tx);

  /** @param address 4 or 16 bytes. @param groFd gets UDP_GRO, and so does the peer: trains stay whole */
  constructor(fd: number, address: Uint8Array, port: number, groFd: number | undefined) {
    this.#fd = fd;
    if (groFd !== undefined) {
      enableUdpGro(groFd);
      enableUdpGro(fd);
    }
    const targetBytes = writeSockaddr(this.#target, 0, address, port);
    prepareGsoControl(this.#txControl, 0);
    writePointer(this.#iovec, 0, addressOf(this.#buffer));
    for (const [header, control] of [
      [this.#rx, this.#rxControl],
      [this.#tx, this.#txControl],
    ] as const) {
      writePointer(header, MSG_IOV_WORD, addressOf(this.#iovec));
      header[MSG_IOVLEN_WORD] = 1;
      writePointer(header, MSG_CONTROL_WORD, addressOf(control));
    }
    writePointer(this.#tx, MSG_NAME_WORD, addressOf(this.#target));
    this.#tx[MSG_NAMELEN_WORD] = targetBytes;
  }

  /** All that has come. @returns how many messages */
  echo(): number {
    for (let count = 0; ; count++) {
      this.#iovec[2] = BUFFER_BYTES;
      this.#rx[MSG_CONTROLLEN_WORD] = CONTROL_BYTES;
      if (recvmmsg(this.#fd, this.#rxAddress, 1, MSG_DONTWAIT, 0) !== 1) return count;
      const isTrain = this.#rx[MSG_CONTROLLEN_WORD] !== 0 && this.#rxControl[CMSG_TYPE_WORD] === UDP_GRO;
      this.#iovec[2] = this.#rx[MSG_LEN_WORD] as number;
      this.#tx[MSG_CONTROLLEN_WORD] = isTrain ? GSO_CONTROL_BYTES : 0;
      this.#txControl[CMSG_DATA_WORD] = this.#rxControl[CMSG_DATA_WORD] as number;
      sendmmsg(this.#fd, this.#txAddress, 1, MSG_DONTWAIT);
    }
  }
}
