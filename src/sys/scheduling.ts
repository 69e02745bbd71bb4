/**
 * How soon the calling thread gets a core after it was woken. Source: sched_setattr(2); kernel/sched/fair.c.
 *
 * A thread that asks for short slices runs before those with longer ones as soon as it is woken (Linux 6.12 and later,
 * PREEMPT_SHORT); older kernels take the request and do nothing with it. Niceness weighs its share when cores are short.
 */
import { syscall } from './libc.js';
import { addressOf, pin } from './memory.js';

const SYS_SCHED_SETATTR = process.arch === 'x64' ? 314 : 274;
const SCHED_OTHER = 0;

/** struct sched_attr, version 0: size, policy, flags (64 bits), nice, priority, runtime, deadline, period. */
const SCHED_ATTR_BYTES = 48;
const NICE_OFFSET = 16;
const RUNTIME_OFFSET = 24;
const attributes = pin(new DataView(new ArrayBuffer(SCHED_ATTR_BYTES)));
const attributesAddress = addressOf(attributes);

/** @param nice -20 to 19. @returns false if the kernel refuses (below 0 needs CAP_SYS_NICE); nothing is changed then */
export function setThreadScheduling(nice: number, sliceMicroseconds: number): boolean {
  attributes.setUint32(0, SCHED_ATTR_BYTES, true);
  attributes.setUint32(4, SCHED_OTHER, true);
  attributes.setInt32(NICE_OFFSET, nice, true);
  attributes.setBigUint64(RUNTIME_OFFSET, BigInt(sliceMicroseconds * 1000), true);
  return syscall(SYS_SCHED_SETATTR, 0, attributesAddress, 0) === 0;
}
