/**
 * Memory whose address the kernel may be given.
 *
 * A WebAssembly.Memory of fixed size and a SharedArrayBuffer never move; an ordinary ArrayBuffer's backing store does not
 * move either as long as it is referenced and not detached. An address is no reference: a view of which only the address
 * is used later is garbage, and the kernel would write into freed memory. So what system calls get is pinned, or lives in
 * an object that is in use.
 */
import koffi from 'koffi';

const pinned: ArrayBufferView[] = [];

/** Keeps a view alive for as long as the thread lives. For the few buffers that a module hands to the kernel. */
export function pin<T extends ArrayBufferView>(view: T): T {
  pinned.push(view);
  return view;
}

/** The machine address of a view's first byte. Below 2^53 on every Linux user space (47 to 52 bits). */
export function addressOf(view: ArrayBufferView): number {
  return Number(koffi.address(view));
}

const POINTER_HIGH = 2 ** 32;

/** Writes a 64-bit pointer as two 32-bit words (little-endian machines; both that Node supports on Linux are). */
export function writePointer(words: Int32Array | Uint32Array, index: number, address: number): void {
  words[index] = (address % POINTER_HIGH) | 0;
  words[index + 1] = (address / POINTER_HIGH) | 0;
}
