/** A unix datagram socket to listen at, as systemd's: what tests of NOTIFY_SOCKET hear. Test support. */
import { rmSync } from 'node:fs';
import { errnoName, lastErrno } from '../../src/sys/errno.js';
import { bind, close, read, socket } from '../../src/sys/libc.js';
import { addressOf, pin } from '../../src/sys/memory.js';
import { sockaddrUn } from '../../src/sys/unix-datagram.js';

const AF_UNIX = 1;
const SOCK_DGRAM_NONBLOCK_CLOEXEC = 2 | 0o4000 | 0o2000000;
const bytes = pin(new Uint8Array(4096));

export class NotifyReceiver {
  readonly #fd: number;
  readonly #path: string;

  /** @param path a file's, or `@NAME` */
  constructor(path: string) {
    this.#path = path;
    this.#fd = socket(AF_UNIX, SOCK_DGRAM_NONBLOCK_CLOEXEC, 0);
    const address = sockaddrUn(path);
    if (bind(this.#fd, addressOf(address), address.length) !== 0) throw new Error(`bind: ${errnoName(lastErrno())}`);
  }

  /** What has come since the last call. */
  take(): string[] {
    const messages: string[] = [];
    for (;;) {
      const length = read(this.#fd, addressOf(bytes), bytes.length);
      if (length < 0) return messages;
      messages.push(Buffer.from(bytes.slice(0, length)).toString());
    }
  }

  close(): void {
    close(this.#fd);
    if (this.#path.startsWith('/')) rmSync(this.#path, { force: true });
  }
}
