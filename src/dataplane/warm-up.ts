/**
 * Before a worker serves its descriptors it moves frames of its own, so that its code is compiled when the first real one
 * comes. Cold code takes some 20 microseconds for each step of a frame's way where compiled code takes one or two, and on
 * a quiet network it would stay cold for a long time: a ping a second never gets it compiled.
 *
 * The way is the real one, system calls included, since code that has only ever seen them fail would be compiled for that:
 * for each family of the underlay a socket pair stands for a TAP, and a socket on loopback for the other VTEP, which sends
 * back whatever it gets. All that is counted and learnt goes into tables of its own. Where loopback is down, the worker
 * starts cold.
 *
 * Worker thread, once at start; takes WARM_UP_MS_MAX at most.
 */
import type { SharedTables } from '../shared/layout.js';
import { NETWORK_ROW_WORDS, NETWORK_TAP_FDS_WORD } from '../shared/network-table.js';
import { VTEP_ROW_BYTES, VTEP_ROWS_OFFSET } from '../shared/vtep-table.js';
import { WARM_UP_PEER, WARM_UP_SELF, type WarmUpInput, type WarmUpPath } from '../shared/warm-up.js';
import { type UnderlaySockets, underlayToken, type WorkerInput } from '../shared/worker-input.js';
import { close, read, write } from '../sys/libc.js';
import { addressOf } from '../sys/memory.js';
import { addToEpoll, closeEpoll, openEpoll } from '../sys/poll.js';
import { openSocketPair } from '../sys/socket-pair.js';
import { boundPort, openUdpSocket } from '../sys/udp-socket.js';
import type { Arena } from './arena.js';
import { WorkerContext } from './context.js';
import { turn } from './loop.js';
import { prepareReceive } from './underlay-rx.js';
import { EchoPeer } from './warm-up-echo.js';
import { warmUpMessages } from './warm-up-frames.js';

const WARM_UP_MS_MAX = 400;
/** Enough for V8 to compile all that a round uses (`node --trace-opt --trace-deopt`: nothing is compiled or undone later). */
const ROUNDS = 1500;

/** Leaves nothing behind but compiled code. @param arena the worker's own: its code is bound to this memory */
export function warmUp(input: WorkerInput, { tables, paths }: WarmUpInput, arena: Arena): void {
  const opened: number[] = [];
  const keep = (fd: number) => {
    opened.push(fd);
    return fd;
  };
  const epollFd = openEpoll();
  try {
    const ends = paths.map((path) => openPath(path, input, tables, epollFd, keep));
    const underlay = ends.map(({ sockets }) => sockets);
    const own = { ...input, epollFd, wakeFd: -1, underlay, tables, workerIndex: 0 };
    const context = new WorkerContext(own, () => {}, arena);
    prepareReceive(context);
    for (const { containerFd, peer } of ends) rehearse(context, containerFd, peer, WARM_UP_MS_MAX / ends.length);
  } catch {
    // No loopback, no descriptors left: cold code works as well.
  } finally {
    for (const fd of opened) close(fd);
    closeEpoll(epollFd);
  }
}

interface PathEnds {
  readonly sockets: UnderlaySockets;
  readonly containerFd: number;
  readonly peer: EchoPeer;
}

/** A network's TAP, this host's sockets of the family, and the VTEP at the other end of it. */
function openPath(
  { family, networkIndex, peerVtep }: WarmUpPath,
  input: WorkerInput,
  tables: SharedTables,
  epollFd: number,
  keep: (fd: number) => number,
): PathEnds {
  const [tapFd, containerFd] = openSocketPair();
  keep(tapFd);
  keep(containerFd);
  const self = Uint8Array.from(family === 4 ? WARM_UP_SELF : WARM_UP_PEER[6]);
  const gro = input.offloads.underlayGro;
  const rxFd = keep(openUdpSocket({ address: self, port: 0, receiveTos: true }));
  const txFd = keep(openUdpSocket({ address: self, port: 0 }));
  const peerFd = keep(openUdpSocket({ address: Uint8Array.from(WARM_UP_PEER[family]), port: 0 }));
  const peer = new EchoPeer(peerFd, self, boundPort(rxFd), gro ? rxFd : undefined);
  new Int32Array(tables.networks)[networkIndex * NETWORK_ROW_WORDS + NETWORK_TAP_FDS_WORD] = tapFd;
  const rows = new DataView(tables.vteps);
  rows.setUint16(VTEP_ROWS_OFFSET + peerVtep * VTEP_ROW_BYTES + 2, boundPort(peerFd));
  addToEpoll(epollFd, rxFd, underlayToken(rxFd));
  addToEpoll(epollFd, tapFd, networkIndex);
  const places = input.underlay[0]?.txFds ?? [];
  return { sockets: { family, rxFd, txFds: places.map(() => txFd) }, containerFd, peer };
}

function rehearse(context: WorkerContext, containerFd: number, peer: EchoPeer, msMax: number): void {
  const messages = warmUpMessages();
  const addresses = messages.map(addressOf);
  const received = new Uint8Array(70_000);
  const receivedAddress = addressOf(received);
  const end = performance.now() + msMax;
  for (let round = 0; round < ROUNDS && performance.now() < end; round++) {
    for (let i = 0; i < messages.length; i++) {
      write(containerFd, addresses[i] as number, (messages[i] as Uint8Array).length);
      // Alone or in a burst, as both come. A turn without anything to do would wait.
      if (((round + i) & 3) !== 0 && i !== messages.length - 1) continue;
      turn(context);
      if (peer.echo() > 0) turn(context);
      while (read(containerFd, receivedAddress, received.length) > 0);
    }
  }
}
