/**
 * The underlay's UDP sockets of this VTEP: one that receives on the VXLAN port, and a pool that sends, each from a port of
 * its own, so that routers and NICs spread the flows (RFC 7348, section 5: source port from 49152 to 65535).
 */
import { closeUdpSocket, openUdpSocket } from '../sys/udp-socket.js';
import { parseIPv4 } from '../wire/ip-address.js';
import { VtepError } from './errors.js';
import type { VtepAddress } from './forwarding.js';

/** A power of two: the flow hash is masked. */
export const TX_SOCKET_COUNT = 8;
const SOCKET_BUFFER_BYTES = 8 * 1024 * 1024;
/** Nothing is expected there; what comes all the same is left to fall out of a small queue. */
const UNREAD_BUFFER_BYTES = 2048;
const SOURCE_PORT_FIRST = 49_152;
const SOURCE_PORT_COUNT = 16_384;
const BIND_TRIES = 256;

export interface UnderlaySockets {
  readonly rxFd: number;
  readonly txFds: readonly number[];
}

/** @throws VtepError VTEP_ERR_PORT_IN_USE, VTEP_ERR_UNDERLAY, VTEP_ERR_KERNEL */
export function openUnderlaySockets(listen: VtepAddress): UnderlaySockets {
  const address = Uint8Array.from(parseIPv4(listen.address));
  const rxFd = open(address, listen.port, {
    sendBufferBytes: UNREAD_BUFFER_BYTES,
    receiveBufferBytes: SOCKET_BUFFER_BYTES,
  });
  const txFds: number[] = [];
  try {
    let port = Math.floor(Math.random() * SOURCE_PORT_COUNT);
    for (let tries = 0; txFds.length < TX_SOCKET_COUNT; tries++) {
      port = (port + 1) % SOURCE_PORT_COUNT;
      try {
        const options = { sendBufferBytes: SOCKET_BUFFER_BYTES, receiveBufferBytes: UNREAD_BUFFER_BYTES };
        txFds.push(open(address, SOURCE_PORT_FIRST + port, options));
      } catch (error) {
        if (tries >= BIND_TRIES) throw error;
      }
    }
  } catch (error) {
    closeUnderlaySockets({ rxFd, txFds });
    throw error;
  }
  return { rxFd, txFds };
}

export function closeUnderlaySockets(sockets: UnderlaySockets): void {
  closeUdpSocket(sockets.rxFd);
  for (const fd of sockets.txFds) closeUdpSocket(fd);
}

function open(address: Uint8Array, port: number, buffers: { sendBufferBytes: number; receiveBufferBytes: number }) {
  const where = `${address.join('.')}:${port}`;
  try {
    return openUdpSocket({ address, port, ...buffers });
  } catch (cause) {
    const code = (cause as { code?: string }).code;
    if (code === 'EADDRINUSE') {
      const message = `UDP port ${port} on ${address.join('.')} is in use: choose another with --port, or stop what holds it`;
      throw new VtepError('VTEP_ERR_PORT_IN_USE', message, { cause });
    }
    if (code === 'EADDRNOTAVAIL') {
      const message = `the underlay address ${address.join('.')} is not on this host: give one of its own with --advertise`;
      throw new VtepError('VTEP_ERR_UNDERLAY', message, { cause });
    }
    throw new VtepError(
      'VTEP_ERR_KERNEL',
      `the underlay socket ${where} can't be opened: ${(cause as Error).message}`,
      {
        cause,
      },
    );
  }
}
