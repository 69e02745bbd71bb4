/** A UDP socket in a namespace that sends whatever it is given to one address. Test support; no part of vtep. */
import { errnoName, lastErrno } from '../../src/sys/errno.js';
import { close, connect, setsockopt, write } from '../../src/sys/libc.js';
import { addressOf, pin } from '../../src/sys/memory.js';
import { SOCKADDR_IN_BYTES, writeSockaddr } from '../../src/sys/sockaddr.js';
import { openUdpSocket } from '../../src/sys/udp-socket.js';
import { inNamespace } from '../sys/in-namespace.js';

const IPPROTO_IP = 0;
const IP_TOS = 1;
const BUFFER_BYTES = 4 * 1024 * 1024;
const bytes = pin(new Uint8Array(70_000));

const parse = (address: string) => Uint8Array.from(address.split('.').map(Number));

export class DatagramSocket {
  readonly #fd: number;

  /** @param tos of the outer IP header, its ECN bits as well */
  constructor(namespace: string, from: string, to: string, port: number, tos = 0) {
    this.#fd = inNamespace(namespace, () =>
      openUdpSocket({ address: parse(from), port: 0, sendBufferBytes: BUFFER_BYTES }),
    );
    const sockaddr = new Uint8Array(SOCKADDR_IN_BYTES);
    writeSockaddr(sockaddr, 0, parse(to), port);
    const value = new Int32Array([tos]);
    const isSet =
      connect(this.#fd, addressOf(sockaddr), SOCKADDR_IN_BYTES) === 0 &&
      setsockopt(this.#fd, IPPROTO_IP, IP_TOS, addressOf(value), 4) === 0;
    if (!isSet) throw new Error(`the datagram socket: ${errnoName(lastErrno())}`);
  }

  /** @returns whether the kernel took it */
  send(datagram: Uint8Array): boolean {
    bytes.set(datagram);
    return write(this.#fd, addressOf(bytes), datagram.length) === datagram.length;
  }

  close(): void {
    close(this.#fd);
  }
}
