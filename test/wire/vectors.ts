/**
 * Reads the captures that others made, with tshark's reading beside each. Test support; cold.
 *
 * A capture is a classic pcap file: a 24-byte file header, then records of seconds, fraction, captured and original
 * length (uint32 each, in the order that the magic number tells) and the frame. Link type 1 is Ethernet.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const FOLDER = fileURLToPath(new URL('../../../shared/vectors/', import.meta.url));

/** One frame with what tshark says of it: column name to text, comma-separated where a layer occurs more than once. */
export interface Vector {
  readonly capture: string;
  /** As tshark counts: from 1. */
  readonly frameNumber: number;
  readonly frame: Uint8Array;
  readonly decode: Readonly<Record<string, string>>;
}

/** @throws Error naming what is missing; a test run without its vectors is a failure, not a skip */
export function readVectors(): Vector[] {
  if (!existsSync(FOLDER))
    throw new Error(`the folder of captures, ../shared/vectors from the project's root, is missing`);
  const captures = readdirSync(FOLDER).filter((name) => name.endsWith('.pcap'));
  if (captures.length === 0) throw new Error(`../shared/vectors holds no .pcap file`);
  return captures.sort().flatMap((fileName) => {
    const capture = fileName.slice(0, -'.pcap'.length);
    const frames = readPcap(readFileSync(join(FOLDER, fileName)), fileName);
    const decodes = readTsv(readFileSync(join(FOLDER, `${capture}.decode.tsv`), 'utf8'));
    if (frames.length !== decodes.length) {
      throw new Error(`${capture}: ${frames.length} frames in the capture, ${decodes.length} lines in its decode`);
    }
    return frames.map((frame, i) => ({ capture, frameNumber: i + 1, frame, decode: decodes[i]! }));
  });
}

export function readPcap(file: Uint8Array, name: string): Uint8Array[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const magic = view.getUint32(0, true);
  const littleEndian = magic === 0xa1b2c3d4 || magic === 0xa1b23c4d;
  if (!littleEndian && ![0xd4c3b2a1, 0x4d3cb2a1].includes(magic)) throw new Error(`${name} is no pcap file`);
  const linkType = view.getUint32(20, littleEndian);
  if (linkType !== 1) throw new Error(`${name} has link type ${linkType}, not 1 (Ethernet)`);
  const frames: Uint8Array[] = [];
  let position = 24;
  while (position < file.length) {
    const capturedBytes = view.getUint32(position + 8, littleEndian);
    if (capturedBytes !== view.getUint32(position + 12, littleEndian)) {
      throw new Error(`${name}: frame ${frames.length + 1} is cut short`);
    }
    frames.push(Uint8Array.from(file.subarray(position + 16, position + 16 + capturedBytes)));
    position += 16 + capturedBytes;
  }
  return frames;
}

function readTsv(text: string): Record<string, string>[] {
  const [header, ...lines] = text.split('\n').filter((line) => line !== '');
  const columns = header!.split('\t');
  return lines.map((line) => {
    const values = line.split('\t');
    return Object.fromEntries(columns.map((column, i) => [column, values[i] ?? '']));
  });
}
