/** What the compiled long form loads for src/sys/libc.js: the real calls but those that stand-in.ts takes. Test support. */
export * from '../../src/sys/libc.js';
export { connect, read, recvmmsg, sendmmsg, writev } from './stand-in.js';
