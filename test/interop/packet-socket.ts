/**
 * A packet socket on one interface of a namespace: sends frames as they are, and collects those that come in, tags put back
 * where the kernel has taken them off. Test support; no part of vtep. Source: packet(7), include/uapi/linux/if_packet.h.
 */
import * as io from '../../src/sys/batch-io.js';
import { errnoName, lastErrno } from '../../src/sys/errno.js';
import { bind, close, recvmmsg, setsockopt, socket, write } from '../../src/sys/libc.js';
import { addressOf, pin, writePointer } from '../../src/sys/memory.js';
import { inNamespace } from '../sys/in-namespace.js';

const AF_PACKET = 17;
const SOCK_RAW_NONBLOCK = 3 | 0o4000;
const ETH_P_ALL_BE = 0x0300;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const SO_SNDBUFFORCE = 32;
const SOL_PACKET = 263;
const PACKET_AUXDATA = 8;
const PACKET_IGNORE_OUTGOING = 23;
const BUFFER_BYTES = 16 * 1024 * 1024;
const TP_STATUS_VLAN_VALID = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID = 1 << 6;

const rx = {
  bytes: pin(new Uint8Array(70_000)),
  iovec: pin(new Int32Array(4)),
  control: pin(new Int32Array(32)),
  header: pin(new Int32Array(16)),
};
const tx = pin(new Uint8Array(70_000));

export class PacketSocket {
  readonly #fd: number;

  constructor(namespace: string, interfaceIndex: number) {
    this.#fd = inNamespace(namespace, () => must('socket', socket(AF_PACKET, SOCK_RAW_NONBLOCK, 0)));
    for (const option of [SO_RCVBUFFORCE, SO_SNDBUFFORCE]) this.#set(SOL_SOCKET, option, BUFFER_BYTES);
    this.#set(SOL_PACKET, PACKET_AUXDATA, 1);
    this.#set(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
    const address = Buffer.alloc(20);
    address.writeUInt16LE(AF_PACKET, 0);
    address.writeUInt16LE(ETH_P_ALL_BE, 2);
    address.writeInt32LE(interfaceIndex, 4);
    must('bind', bind(this.#fd, addressOf(address), address.length));
  }

  /** @returns whether the kernel took the frame: one that is longer than the interface's MTU allows it does not */
  send(frame: Uint8Array): boolean {
    tx.set(frame);
    return write(this.#fd, addressOf(tx), frame.length) === frame.length;
  }

  /** What has come in since the last call. */
  receive(): Uint8Array[] {
    const { bytes, iovec, control, header } = rx;
    const frames: Uint8Array[] = [];
    for (;;) {
      writePointer(iovec, 0, addressOf(bytes));
      iovec[2] = bytes.length;
      header.fill(0);
      writePointer(header, io.MSG_IOV_WORD, addressOf(iovec));
      header[io.MSG_IOVLEN_WORD] = 1;
      writePointer(header, io.MSG_CONTROL_WORD, addressOf(control));
      header[io.MSG_CONTROLLEN_WORD] = control.byteLength;
      if (recvmmsg(this.#fd, addressOf(header), 1, io.MSG_DONTWAIT, 0) !== 1) return frames;
      frames.push(this.#withTag(bytes.slice(0, header[io.MSG_LEN_WORD] as number)));
    }
  }

  close(): void {
    close(this.#fd);
  }

  /** struct tpacket_auxdata: status, len, snaplen, mac and net, then the tag's TCI and TPID. */
  #withTag(frame: Uint8Array): Uint8Array {
    const data = io.CMSG_DATA_WORD;
    const status = rx.control[data] as number;
    if (rx.header[io.MSG_CONTROLLEN_WORD] === 0 || (status & TP_STATUS_VLAN_VALID) === 0) return frame;
    const word = rx.control[data + 4] as number;
    const tpid = (status & TP_STATUS_VLAN_TPID_VALID) !== 0 ? word >>> 16 : 0x8100;
    const tag = Uint8Array.of(tpid >> 8, tpid, (word >> 8) & 0xff, word);
    return Uint8Array.from(Buffer.concat([frame.subarray(0, 12), tag, frame.subarray(12)]));
  }

  #set(level: number, option: number, value: number): void {
    must(`setsockopt ${option}`, setsockopt(this.#fd, level, option, addressOf(new Int32Array([value])), 4));
  }
}

function must(what: string, answer: number): number {
  if (answer < 0) throw new Error(`${what}: ${errnoName(lastErrno())}`);
  return answer;
}
