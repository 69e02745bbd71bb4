/**
 * Bytes that tell on whoever reads or writes out of bounds. Test support.
 *
 * A typed array answers undefined beyond its end, and arithmetic makes a silent 0 of it. This one throws, also for bytes
 * of the buffer that are not part of the window.
 */
export function guarded(bytes: Uint8Array, windowOffset = 0, windowBytes = bytes.length): Uint8Array {
  const assertInside = (key: string | symbol): void => {
    if (typeof key !== 'string' || !/^-?\d+$/.test(key)) return;
    const index = Number(key);
    if (index < windowOffset || index >= windowOffset + windowBytes) {
      throw new RangeError(`byte ${index} is outside of [${windowOffset}, ${windowOffset + windowBytes})`);
    }
  };
  return new Proxy(bytes, {
    get(target, key) {
      assertInside(key);
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
    set(target, key, value) {
      assertInside(key);
      return Reflect.set(target, key, value, target);
    },
  });
}
