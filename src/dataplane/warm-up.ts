/**
 * Before a worker serves its descriptors it moves frames of its own, so that its code is compiled when the first real one
 * comes. Cold code takes some 20 microseconds for each step of a frame's way where compiled code takes one or two, and on
 * a quiet network it would stay cold for a long time: a ping a second never gets it compiled.
 *
 * The way is the real one, system calls included, since code that has only ever seen them fail would be compiled for that:
 * a socket pair stands for the TAP, and a socket on loopback for the other VTEP, which sends back whatever it gets. All
 * that is counted and learnt goes into tables of its own. Where loopback is down, the worker starts cold.
 *
 * Worker thread, once at start; takes WARM_UP_MS_MAX at most.
 */
import { NETWORK_ROW_WORDS, NETWORK_TAP_FDS_WORD } from '../shared/network-table.js';
import { VTEP_ROW_BYTES, VTEP_ROWS_OFFSET } from '../shared/vtep-table.js';
import { WARM_UP_PEER, WARM_UP_SELF, type WarmUpInput } from '../shared/warm-up.js';
import { TOKEN_UNDERLAY, type WorkerInput } from '../shared/worker-input.js';
import { close, read, write } from '../sys/libc.js';
import { addressOf } from '../sys/memory.js';
import { addToEpoll, closeEpoll, openEpoll } from '../sys/poll.js';
import { openSocketPair } from '../sys/socket-pair.js';
import { boundPort, openUdpSocket, receiveTos } from '../sys/udp-socket.js';
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
export function warmUp(input: WorkerInput, { tables, networkIndex, peerVtep }: WarmUpInput, arena: Arena): void {
  const opened: number[] = [];
  const keep = (fd: number) => {
    opened.push(fd);
    return fd;
  };
  const epollFd = openEpoll();
  try {
    const [tapFd, containerFd] = openSocketPair();
    keep(tapFd);
    keep(containerFd);
    const gro = input.offloads.underlayGro;
    const underlayFd = keep(openUdpSocket({ address: Uint8Array.from(WARM_UP_SELF), port: 0 }));
    receiveTos(underlayFd);
    const peerFd = keep(openUdpSocket({ address: Uint8Array.from(WARM_UP_PEER), port: 0 }));
    const txFd = keep(openUdpSocket({ address: Uint8Array.from(WARM_UP_SELF), port: 0 }));
    const peer = new EchoPeer(
      peerFd,
      Uint8Array.from(WARM_UP_SELF),
      boundPort(underlayFd),
      gro ? underlayFd : undefined,
    );
    new Int32Array(tables.networks)[networkIndex * NETWORK_ROW_WORDS + NETWORK_TAP_FDS_WORD] = tapFd;
    const rows = new DataView(tables.vteps);
    rows.setUint16(VTEP_ROWS_OFFSET + peerVtep * VTEP_ROW_BYTES + 2, boundPort(peerFd));
    addToEpoll(epollFd, underlayFd, TOKEN_UNDERLAY);
    addToEpoll(epollFd, tapFd, networkIndex);
    const ends = { epollFd, wakeFd: -1, underlayFd, txFds: input.txFds.map(() => txFd) };
    const own = { ...input, ...ends, tables, workerIndex: 0 };
    const context = new WorkerContext(own, () => {}, arena);
    prepareReceive(context);
    rehearse(context, containerFd, peer);
  } catch {
    // No loopback, no descriptors left: cold code works as well.
  } finally {
    for (const fd of opened) close(fd);
    closeEpoll(epollFd);
  }
}

function rehearse(context: WorkerContext, containerFd: number, peer: EchoPeer): void {
  const messages = warmUpMessages();
  const addresses = messages.map(addressOf);
  const received = new Uint8Array(70_000);
  const receivedAddress = addressOf(received);
  const end = performance.now() + WARM_UP_MS_MAX;
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
