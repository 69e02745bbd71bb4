/** A worker's context without descriptors, and the frames that the benchmarks of the data plane use. */
import { WorkerContext } from '../../src/dataplane/context.js';
import { fdbKeyHigh, KIND_STATIC } from '../../src/shared/fdb.js';
import { allocateTables } from '../../src/shared/tables.js';
import { FdbWriter } from '../../src/shared/writers/fdb-writer.js';
import { NetworkWriter } from '../../src/shared/writers/network-writer.js';
import { VtepWriter } from '../../src/shared/writers/vtep-writer.js';
import { completeChecksum, pseudoHeaderSumIpv4 } from '../../src/wire/checksum.js';
import { emitIpv4 } from '../../src/wire/ipv4.js';
import { emitTcp } from '../../src/wire/tcp.js';
import { emitVirtioNetHdr } from '../../src/wire/virtio-net-hdr.js';

export const VNI = 256;
/** 192.0.2.2 as it lies in struct sockaddr_in. */
export const PEER_WORD = 0x020200c0;
/** Source and destination of every frame: one FDB entry serves both directions. */
const MAC = [2, 0, 0, 0, 0, 3];

export function makeBenchContext(): { context: WorkerContext; network: number } {
  const tables = allocateTables(1);
  const networks = new NetworkWriter(tables.networks, tables.vnis, tables.membership);
  const network = networks.reserve();
  networks.publish(network, { vni: VNI, tapFds: [-1], mtuBytes: 1450, learning: true });
  const vteps = new VtepWriter(tables.vteps);
  vteps.add(Uint8Array.of(192, 0, 2, 1), 4789);
  const peer = vteps.add(Uint8Array.of(192, 0, 2, 2), 4789);
  networks.addMember(network, peer);
  new FdbWriter(tables.fdb).set(3, fdbKeyHigh(0x0200, network), KIND_STATIC, peer, 0);
  const offloads = { underlayGso: true, underlayGro: true, coalesceTcp: true, coalesceUdp: true, simdChecksum: true };
  const underlay = [{ family: 4 as const, rxFd: -1, txFds: Array.from({ length: 8 }, () => -1) }];
  const ends = { epollFd: -1, wakeFd: -1, underlay };
  const input = { workerIndex: 0, tables, ...ends, offloads, spinMicroseconds: 0, nice: 0 };
  return { context: new WorkerContext(input, () => {}), network };
}

/** A UDP frame 10.0.0.2 -> 10.0.0.3, checksums made, without its virtio header. */
export function udpFrame(frameBytes: number): Uint8Array {
  const frame = new Uint8Array(frameBytes);
  frame.set([...MAC, ...MAC, 8, 0]);
  emitIpv4(frame, 14, 0, frameBytes - 14, 0, 0x4000, 64, 17, 0x0a000002, 0x0a000003);
  const view = new DataView(frame.buffer);
  view.setUint16(34, 40_000);
  view.setUint16(36, 5201);
  view.setUint16(38, frameBytes - 34);
  view.setUint16(40, pseudoHeaderSumIpv4(frame, 14, 17, frameBytes - 34));
  completeChecksum(frame, 0, frameBytes, 34, 6);
  return frame;
}

/** Behind its virtio header, as a TAP with TSO hands it over: timestamps option, so 66 bytes of headers. */
export function tcpSuperframe(segments: number, mssBytes: number): Uint8Array {
  const upperBytes = 32 + segments * mssBytes;
  const message = new Uint8Array(10 + 34 + upperBytes).map((_, i) => (i * 31 + (i >> 8)) & 0xff);
  message.set([...MAC, ...MAC, 8, 0], 10);
  emitIpv4(message, 24, 0, 20 + upperBytes, 1, 0x4000, 64, 6, 0x0a000002, 0x0a000003);
  emitTcp(message, 44, 40_000, 5201, 1, 1, 0x10, 1024, 0);
  message[56] = 0x80;
  message.set([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2], 64);
  new DataView(message.buffer).setUint16(60, pseudoHeaderSumIpv4(message, 24, 6, upperBytes));
  emitVirtioNetHdr(message, 0, 1, 1, 66, mssBytes, 34, 16);
  return message;
}
