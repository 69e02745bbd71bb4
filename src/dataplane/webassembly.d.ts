/** The part of WebAssembly that the arena uses; Node's own types leave it out and the DOM's bring a browser along. */
declare namespace WebAssembly {
  class Memory {
    constructor(descriptor: { initial: number; maximum: number });
    readonly buffer: ArrayBuffer;
  }
}
