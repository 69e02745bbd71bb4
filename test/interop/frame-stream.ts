/**
 * The frames that reach an interface, as they come: tcpdump's output, read while it is written. Test support.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { waitFor } from '../e2e/host-pair.js';

const FILE_HEADER_BYTES = 24;
const RECORD_HEADER_BYTES = 16;

/** The whole records at the start of `bytes`, and what is left. */
export function readRecords(bytes: Buffer): { frames: Buffer[]; rest: Buffer } {
  const frames: Buffer[] = [];
  let at = 0;
  while (at + RECORD_HEADER_BYTES <= bytes.length) {
    const end = at + RECORD_HEADER_BYTES + bytes.readUInt32LE(at + 8);
    if (end > bytes.length) break;
    frames.push(bytes.subarray(at + RECORD_HEADER_BYTES, end));
    at = end;
  }
  return { frames, rest: bytes.subarray(at) };
}

/** The frames of a whole file. */
export const readCapture = (bytes: Buffer): Buffer[] => readRecords(bytes.subarray(FILE_HEADER_BYTES)).frames;

export class FrameStream {
  readonly #frames: Buffer[] = [];
  readonly #child: ChildProcess;
  #bytes = Buffer.alloc(0);
  #isPastHeader = false;

  private constructor(netns: string, device: string) {
    const args = ['-i', device, '-Q', 'in', '-U', '--immediate-mode', '-s', '0', '-B', '4096', '-Z', 'root', '-w', '-'];
    const stdio: ['ignore', 'pipe', 'ignore'] = ['ignore', 'pipe', 'ignore'];
    this.#child = spawn('ip', ['netns', 'exec', netns, 'tcpdump', ...args], { stdio });
    this.#child.stdout?.on('data', (chunk: Buffer) => this.#take(chunk));
  }

  static async open(netns: string, device: string): Promise<FrameStream> {
    const stream = new FrameStream(netns, device);
    // It writes the file's header once it listens.
    await waitFor(`tcpdump on ${device}`, () => stream.#isPastHeader);
    return stream;
  }

  #take(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    if (!this.#isPastHeader) {
      if (this.#bytes.length < FILE_HEADER_BYTES) return;
      this.#bytes = this.#bytes.subarray(FILE_HEADER_BYTES);
      this.#isPastHeader = true;
    }
    const { frames, rest } = readRecords(this.#bytes);
    this.#frames.push(...frames);
    this.#bytes = rest as Buffer<ArrayBuffer>;
  }

  with(mark: Uint8Array): Buffer[] {
    const wanted = Buffer.from(mark);
    return this.#frames.filter((frame) => frame.includes(wanted));
  }

  end(): void {
    this.#child.kill('SIGKILL');
  }
}
