/**
 * What a worker has learnt, on its way to the main thread. One producer (the worker), one consumer (the main thread). @hot
 *
 *     word 0: written (producer) | word 8: read (consumer) | from word 16: EVENTS_MAX records of 8 words
 *     record: 0 type | 1 network index | 2 MAC bytes 2..5 | 3 MAC bytes 0..1 | 4 VTEP index
 *
 * Both counts only grow (modulo 2^32); full means written - read = EVENTS_MAX, and then the event is refused and counted
 * by the caller: what was seen will be seen again. The record is written before the count is stored.
 */
import { EVENTS_MAX } from './layout.js';

export const EVENT_WORDS = 8;
export const WRITTEN_WORD = 0;
export const READ_WORD = 8;
export const RECORDS_WORD = 16;
export const EVENT_RING_BYTES = (RECORDS_WORD + EVENTS_MAX * EVENT_WORDS) * 4;

/** A source MAC was seen behind a VTEP for the first time, or behind another one than before. */
export const EVENT_LEARN = 1;
/** A registered MAC sends from a VTEP that is not its own. */
export const EVENT_CONFLICT = 2;
/**
 * A probe of the network's multicast group, or an answer to one, from a VTEP of the network. Words 2 and 3 are the halves of
 * its nonce.
 */
export const EVENT_GROUP_PROBE = 3;
export const EVENT_GROUP_ANSWER = 4;
/** An address that is registered with this MAC is used with another, by whoever sends from the VTEP. */
export const EVENT_NEIGHBOUR_DOUBT = 5;
/** A VTEP has asked its containers for memberships; words 2 and 3: how often it does, and within which time they answer. */
export const EVENT_GROUP_QUERIED = 6;
/** A container behind the VTEP (SELF_VTEP: of this host) wants the group of the MAC, or no longer; words 2 and 3 are the MAC. */
export const EVENT_MEMBER_JOINED = 7;
/** The same, and others that want it as well may be silent (IGMPv1, IGMPv2, MLDv1). */
export const EVENT_MEMBER_JOINED_ALONE = 8;
export const EVENT_MEMBER_LEFT = 9;
/** Behind the VTEP is a multicast router: it asks for memberships. */
export const EVENT_ROUTER = 10;

const RECORD_MASK = EVENTS_MAX - 1;

export class EventRing {
  readonly words: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer);
  }

  /** Producer. @returns false if the ring is full */
  push(type: number, networkIndex: number, macLow: number, macHigh16: number, vtepIndex: number): boolean {
    const words = this.words;
    const written = words[WRITTEN_WORD] as number;
    if (((written - Atomics.load(words, READ_WORD)) | 0) >= EVENTS_MAX) return false;
    const word = RECORDS_WORD + (written & RECORD_MASK) * EVENT_WORDS;
    words[word] = type;
    words[word + 1] = networkIndex;
    words[word + 2] = macLow;
    words[word + 3] = macHigh16;
    words[word + 4] = vtepIndex;
    Atomics.store(words, WRITTEN_WORD, (written + 1) | 0);
    return true;
  }

  /**
   * Producer, after a push. True if the consumer had taken everything before it: then it sleeps and has to be woken. Both
   * sides store their own count before they load the other's, so at least one of them sees the new event.
   */
  needsWake(): boolean {
    const words = this.words;
    return ((Atomics.load(words, READ_WORD) + 1) | 0) === (words[WRITTEN_WORD] as number);
  }

  /** Consumer. Calls `take` for each waiting event until there is none. @returns how many */
  drain(
    take: (type: number, networkIndex: number, macLow: number, macHigh16: number, vtepIndex: number) => void,
  ): number {
    const words = this.words;
    let read = words[READ_WORD] as number;
    let count = 0;
    while (read !== Atomics.load(words, WRITTEN_WORD)) {
      const word = RECORDS_WORD + (read & RECORD_MASK) * EVENT_WORDS;
      take(
        words[word] as number,
        words[word + 1] as number,
        words[word + 2] as number,
        words[word + 3] as number,
        words[word + 4] as number,
      );
      read = (read + 1) | 0;
      Atomics.store(words, READ_WORD, read);
      count++;
    }
    return count;
  }
}
