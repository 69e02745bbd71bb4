/** How frames come from the underlay, and what the messages that a TAP gets say about them. Test support. */
import { expect } from 'vitest';
import { coalesceReference, renumberedReference } from './reference/coalesce.js';
import { areEqual } from './reference/octets.js';
import { areLengthsTrue, bytesOf, takeApart, withChecksum, withPseudoSum } from './reference/packet.js';
import { expandReference } from './reference/segment.js';

const TRAIN_DATAGRAMS_MAX = 64;
const TRAIN_BYTES_MAX = 65_507;

/**
 * Cuts datagrams into trains that UDP_SEGMENT can carry: of one size, the last perhaps shorter.
 *
 * @param cuts for each train in turn, a part of the longest one possible, in percent; 0: the datagrams go singly
 */
export function trainsOf(datagrams: readonly Uint8Array[], cuts: readonly number[]): Uint8Array[][] {
  const trains: Uint8Array[][] = [];
  for (let from = 0; from < datagrams.length; ) {
    const longest = longestTrain(datagrams, from);
    const percent = cuts[trains.length % cuts.length] as number;
    const count = Math.max(1, Math.round((longest * percent) / 99));
    trains.push(datagrams.slice(from, from + count));
    from += count;
  }
  return trains;
}

function longestTrain(datagrams: readonly Uint8Array[], from: number): number {
  const size = (datagrams[from] as Uint8Array).length;
  let count = 1;
  while (count < TRAIN_DATAGRAMS_MAX && (count + 1) * size <= TRAIN_BYTES_MAX) {
    const next = datagrams[from + count];
    if (next === undefined || next.length > size) break;
    count++;
    if (next.length < size) break;
  }
  return count;
}

/**
 * Checks that the TAP's messages hold the frames that arrived, in order and byte for byte, and that nothing was coalesced
 * that the reference would not coalesce.
 *
 * @returns the frames that arrived, in groups: those of one message each
 */
export function deliveries(messages: readonly Uint8Array[], arrived: readonly Uint8Array[]): Uint8Array[][] {
  const groups: Uint8Array[][] = [];
  let at = 0;
  for (const message of messages) {
    const frames = expandReference(message);
    const group = arrived.slice(at, at + frames.length);
    at += frames.length;
    groups.push(group);
    if (group.length > 1) expect(coalesceReference(group).length, 'groups of the reference').toBe(1);
    const expected = renumberedReference(group).map(finished);
    const wrong = frames.findIndex((frame, i) => expected[i] === undefined || !areEqual(frame, expected[i]));
    if (wrong >= 0) expect(frames[wrong], `frame ${at - frames.length + wrong}`).toEqual(expected[wrong]);
  }
  expect(at).toBe(arrived.length);
  return groups;
}

/** A checksum that is the pseudo-header's sum is taken for one left unfinished, and finished by the kernel behind the TAP. */
function finished(frame: Uint8Array): Uint8Array {
  const packet = takeApart(frame);
  if (packet === undefined || !areLengthsTrue(packet)) return frame;
  return areEqual(bytesOf(withPseudoSum(packet)), frame) ? bytesOf(withChecksum(packet)) : frame;
}
