/**
 * The journal of a prefix: which of its keys have changed, so that a reader gets those and not all. Pure; control plane.
 *
 *     journal/<prefix> = the last changes, newest first
 *                        [name, tag, index of the change before]    a change has the index of the transaction it was made in
 *                        ...                                        0: nothing is known of what was before
 *
 * Whoever changes a key writes the journal by compare-and-set in the same transaction (journalled-writes.ts), so both get
 * one index. A reader remembers the change that it read last, its mark: index, and a random tag, since a registry that was
 * wiped or put back counts the same indexes again. What stands above the mark has changed since; a journal in which the
 * mark isn't found says nothing.
 *
 * It has gaps: a session's end deletes keys without a word in it, and so do hands. incremental-reader.ts deals with those.
 */
import { randomBytes } from 'node:crypto';
import type { RegistryEntry } from './registry.js';
import { encodeValue, type JournalValue, journalValueSchema, parseJournal } from './schema.js';

/** At about 40 bytes a change: more than come between two readings of a host that keeps up. */
const CHANGES_MAX = 32;

export interface JournalMark {
  readonly index: number;
  readonly tag: string;
}

export interface JournalChange extends JournalMark {
  /** The changed key without the prefix. */
  readonly name: string;
}

/** What has changed since a mark. */
export interface JournalNews {
  readonly names: ReadonlySet<string>;
  /** Whether the prefix was changed at this index by someone who wrote it down. */
  readonly explains: (index: number) => boolean;
}

/** Newest first. A journal that is missing or cannot be read knows of none. */
export function changesOf(entry: RegistryEntry | undefined): readonly JournalChange[] {
  const value = entry && parseJournal(entry);
  if (entry === undefined || value === undefined) return [];
  let index = entry.modifyIndex;
  return value.changes.map(([name, tag, before]) => {
    const change = { name, tag, index };
    index = before;
    return change;
  });
}

export function markOf(entry: RegistryEntry | undefined): JournalMark | undefined {
  return changesOf(entry)[0];
}

/** @returns undefined if the journal does not reach back to the mark. */
export function newsSince(entry: RegistryEntry | undefined, mark: JournalMark): JournalNews | undefined {
  const changes = changesOf(entry);
  const at = changes.findIndex(({ index, tag }) => index === mark.index && tag === mark.tag);
  if (at < 0) return undefined;
  const indexes = new Set(changes.map(({ index }) => index));
  return {
    names: new Set(changes.slice(0, at).map(({ name }) => name)),
    explains: (index) => indexes.has(index),
  };
}

/** The journal's next value, to be written at `entry`'s index. */
export function withChange(entry: RegistryEntry | undefined, name: string): string {
  const before = entry && parseJournal(entry)?.changes;
  if (entry === undefined || before === undefined) return cutJournal(name);
  return encode([[name, newTag(), entry.modifyIndex], ...before.slice(0, CHANGES_MAX - 1)]);
}

/** For a writer that doesn't know what is in the journal: nobody finds a mark in it, so all read all. */
export function cutJournal(name: string): string {
  return encode([[name, newTag(), 0]]);
}

function encode(changes: JournalValue['changes']): string {
  return encodeValue(journalValueSchema, { v: 1, changes });
}

const newTag = (): string => randomBytes(4).toString('hex');
