/**
 * A TAP device: the kernel end of one network on this host. Opened by the main thread, read and written by a worker.
 *
 * Persistent, so that the interface outlives the daemon; multi-queue, so that each worker has a queue of its own; with a
 * virtio_net_hdr before each frame, so that checksums and segmentation may be left to us. Source:
 * Documentation/networking/tuntap.rst, include/uapi/linux/if_tun.h. Names, queues, header size and offloads are per fd.
 */
import { lastErrno, SystemCallError } from './errno.js';
import { close, ioctl, open, write } from './libc.js';
import { addressOf, pin } from './memory.js';

const O_RDWR = 2;
const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;

const TUNSETIFF = 0x400454ca;
const TUNSETPERSIST = 0x400454cb;
const TUNSETOFFLOAD = 0x400454d0;
const TUNGETIFF = 0x800454d2;
const TUNSETVNETHDRSZ = 0x400454d8;

const IFF_TAP = 0x0002;
const IFF_MULTI_QUEUE = 0x0100;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;

const IFNAMSIZ = 16;
const IFREQ_BYTES = 40;
const VNET_HDR_BYTES = 10;

/** Arguments of the ioctls: a struct ifreq and an int. */
const ifreq = pin(new Uint8Array(IFREQ_BYTES));
const ifreqAddress = addressOf(ifreq);
const headerBytes = pin(new Int32Array([VNET_HDR_BYTES]));
const headerBytesAddress = addressOf(headerBytes);

/** Offload flags of TUNSETOFFLOAD: what the kernel may leave undone in frames that it hands to us. */
export const TUN_F_CSUM = 0x01;
export const TUN_F_TSO4 = 0x02;
export const TUN_F_TSO6 = 0x04;
export const TUN_F_TSO_ECN = 0x08;
export const TUN_F_USO4 = 0x20;
export const TUN_F_USO6 = 0x40;
/** Superframes of TCP. The ECN flag is a kernel's extra: it can be refused alone. */
export const TUN_F_TSO = TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
/** Superframes of UDP, Linux 6.2 and later. The kernel takes both or neither. */
export const TUN_F_USO = TUN_F_USO4 | TUN_F_USO6;

export const TUN_DEVICE = '/dev/net/tun';

/**
 * Opens a queue of the persistent TAP `name`, which is created if it does not exist.
 *
 * @param offloads TUN_F_... flags: of these, what the kernel takes is set (setTapOffloads)
 * @returns a non-blocking fd
 * @throws SystemCallError: ENOENT or ENODEV (no /dev/net/tun), EPERM (no CAP_NET_ADMIN), EINVAL (a device of this name
 *   is no TAP or has other flags), EBUSY (another process holds its only queue)
 */
export function openTap(name: string, offloads: number): number {
  const fd = attachTap(name);
  try {
    setTapOffloads(fd, offloads);
    check('TUNSETPERSIST', ioctl(fd, TUNSETPERSIST, 1), name);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

/** A TAP under a name that the kernel picks, gone when it is closed: to ask what the kernel can. @throws as openTap */
export function openThrowawayTap(): number {
  return attachTap('vtep-probe%d');
}

function attachTap(name: string): number {
  if (name.length === 0 || name.length >= IFNAMSIZ) {
    throw new RangeError(`TAP name "${name}" must be 1 to ${IFNAMSIZ - 1} characters`);
  }
  const fd = open(TUN_DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) throw new SystemCallError('open', lastErrno(), TUN_DEVICE);
  try {
    ifreq.fill(0);
    for (let i = 0; i < name.length; i++) ifreq[i] = name.charCodeAt(i);
    new DataView(ifreq.buffer).setUint16(IFNAMSIZ, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE, true);
    check('TUNSETIFF', ioctl(fd, TUNSETIFF, ifreqAddress), name);
    check('TUNSETVNETHDRSZ', ioctl(fd, TUNSETVNETHDRSZ, headerBytesAddress), name);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

/**
 * Sets as many of the wanted TUN_F_... flags as the kernel takes. The ioctl takes all or none, and a kernel that lacks
 * one lacks those that came after it: the newest are given up first.
 *
 * @returns the flags that are set
 * @throws SystemCallError if the kernel refuses even none of them
 */
export function setTapOffloads(fd: number, wanted: number): number {
  const fewer = [wanted, wanted & ~TUN_F_USO, wanted & ~(TUN_F_USO | TUN_F_TSO_ECN), wanted & TUN_F_CSUM];
  for (const flags of fewer) if (ioctl(fd, TUNSETOFFLOAD, flags) === 0) return flags;
  check('TUNSETOFFLOAD', ioctl(fd, TUNSETOFFLOAD, 0));
  return 0;
}

/** @returns whether the fd's interface still exists (someone may have deleted it) */
export function isTapAlive(fd: number): boolean {
  return ioctl(fd, TUNGETIFF, ifreqAddress) === 0;
}

function check(syscall: string, result: number, name?: string): void {
  if (result < 0) throw new SystemCallError(syscall, lastErrno(), name);
}

/** The interface stays, without carrier, until it is deleted or opened again. */
export function closeTap(fd: number): void {
  close(fd);
}

/** Writes one frame without offloads, beside whatever else is written to the TAP. One that has no room is lost. */
export function writeTap(fd: number, frame: Uint8Array): void {
  const message = new Uint8Array(VNET_HDR_BYTES + frame.length);
  message.set(frame, VNET_HDR_BYTES);
  write(fd, addressOf(message), message.length);
}
