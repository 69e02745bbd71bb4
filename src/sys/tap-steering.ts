/**
 * Which queue of a TAP the kernel puts a frame in: by the frame's flow alone, so that one flow stays with one worker.
 *
 * Without it the kernel moves a flow to the queue on which the opposite direction was last written, and at that moment
 * frames that wait in the old queue are overtaken. The program is symmetric: both directions of a flow get the same
 * number, which the kernel takes modulo the count of queues.
 *
 * 1. EtherType, behind up to two VLAN tags (a tag that the kernel keeps beside the frame is not in its bytes)
 * 2. IPv4: both addresses; and both ports of TCP and UDP, unless the packet is a fragment (only the first has them)
 * 3. IPv6: likewise, where TCP or UDP follows the header at once
 * 4. anything else: both MAC addresses
 *
 * Source: drivers/net/tun.c, tun_select_queue.
 */
import { BpfAssembler, loadSocketFilter } from './bpf.js';
import { lastErrno, SystemCallError } from './errno.js';
import { close, ioctl } from './libc.js';
import { addressOf, pin } from './memory.js';

const TUNSETSTEERINGEBPF = 0x800454e0;

const ETHERTYPE_OFFSET = 12;
const ETHERNET_BYTES = 14;
const VLAN_BYTES = 4;
const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;
const ETHERTYPE_VLAN = 0x8100;
const ETHERTYPE_QINQ = 0x88a8;
const IPV6_BYTES = 40;
const TCP = 6;
const UDP = 17;
/** More fragments, or an offset. */
const IPV4_FRAGMENT_MASK = 0x3fff;

/** Odd numbers without a pattern; positive as s32. */
const MIX_XOR = 0x3c6ef373;
const MIX_SUM = 0x1b873593;
const MIX_LAST = 0x5bd1e995;

const RESULT = 0;
const FIRST_ARGUMENT = 1;
/** Destroyed by each load. */
const SCRATCH = 2;
const CONTEXT = 6;
const L3 = 7;
const HASH = 8;
const ONE_END = 9;

const programFd = pin(new Int32Array(1));
const programFdAddress = addressOf(programFd);

/** @returns the fd of the loaded program. @throws SystemCallError where the kernel refuses it */
export function loadTapSteering(): number {
  return loadSocketFilter(pin(steeringProgram()));
}

/**
 * Steers every frame of the fd's TAP, whichever queue the fd is. A persistent TAP keeps the program until another takes
 * its place; with one queue it says nothing.
 *
 * @throws SystemCallError: EINVAL before Linux 4.16
 */
export function steerTap(tapFd: number, loadedProgramFd: number): void {
  programFd[0] = loadedProgramFd;
  if (ioctl(tapFd, TUNSETSTEERINGEBPF, programFdAddress) < 0) {
    throw new SystemCallError('TUNSETSTEERINGEBPF', lastErrno());
  }
}

export function closeTapSteering(loadedProgramFd: number): void {
  close(loadedProgramFd);
}

function steeringProgram(): Uint8Array {
  const program = new BpfAssembler();

  /** HASH takes in two values, in either order alike: product of their difference plus product of their sum. */
  const mixPair = (load: (which: 0 | 1) => void): void => {
    load(0);
    program.alu('mov', ONE_END, { register: RESULT });
    load(1);
    program.alu('mov', SCRATCH, { register: RESULT }).alu('xor', SCRATCH, { register: ONE_END });
    program.alu('mul', SCRATCH, MIX_XOR);
    program.alu('add', ONE_END, { register: RESULT }).alu('mul', ONE_END, MIX_SUM);
    program.alu('mul', HASH, MIX_LAST).alu('add', HASH, { register: SCRATCH }).alu('add', HASH, { register: ONE_END });
  };

  program.alu('mov', CONTEXT, { register: FIRST_ARGUMENT }).alu('mov', HASH, 0);
  for (let tags = 0; tags <= 2; tags++) {
    program.label(`tags-${tags}`).alu('mov', L3, ETHERNET_BYTES + tags * VLAN_BYTES);
    program.load('half', ETHERTYPE_OFFSET + tags * VLAN_BYTES);
    if (tags === 2) break;
    program.jumpIfEqual(RESULT, ETHERTYPE_VLAN, `tags-${tags + 1}`);
    program.jumpIfEqual(RESULT, ETHERTYPE_QINQ, `tags-${tags + 1}`);
    program.jump('ethertype');
  }
  program.label('ethertype').jumpIfEqual(RESULT, ETHERTYPE_IPV4, 'ipv4').jumpIfEqual(RESULT, ETHERTYPE_IPV6, 'ipv6');
  mixPair((which) => program.load('word', which === 0 ? 2 : 8));
  program.jump('end');

  program.label('ipv4');
  mixPair((which) => program.loadFrom('word', L3, 12 + which * 4));
  program.loadFrom('half', L3, 6).alu('and', RESULT, IPV4_FRAGMENT_MASK).jumpIfEqual(RESULT, 0, 'ipv4-whole');
  program.jump('end').label('ipv4-whole').loadFrom('byte', L3, 9);
  program.jumpIfEqual(RESULT, TCP, 'ipv4-ports').jumpIfEqual(RESULT, UDP, 'ipv4-ports').jump('end');
  program.label('ipv4-ports').loadFrom('byte', L3, 0).alu('and', RESULT, 0x0f).alu('lsh', RESULT, 2);
  program.alu('add', L3, { register: RESULT }).jump('ports');

  program.label('ipv6');
  for (let word = 0; word < 4; word++) {
    mixPair((which) => program.loadFrom('word', L3, 8 + which * 16 + word * 4));
  }
  program.loadFrom('byte', L3, 6);
  program.jumpIfEqual(RESULT, TCP, 'ipv6-ports').jumpIfEqual(RESULT, UDP, 'ipv6-ports').jump('end');
  program.label('ipv6-ports').alu('add', L3, IPV6_BYTES);

  program.label('ports');
  mixPair((which) => program.loadFrom('half', L3, which * 2));

  // The high half of the last product depends on every bit below.
  program.label('end').alu('mov', RESULT, { register: HASH }).alu('rsh', RESULT, 32);
  program.alu('xor', RESULT, { register: HASH }).alu('and', RESULT, 0x7fffffff).alu('mul', RESULT, MIX_LAST);
  program.alu('rsh', RESULT, 32).exit();
  return program.assemble();
}
