/**
 * Who brings a VTEP to a network, as the data plane's control side tells them apart: a node with its endpoints, or a peer that
 * runs no vtepd. Control plane; pure.
 */
const NODE = 'node/';
const PEER = 'peer/';

export function nodeSource(node: string): string {
  return NODE + node;
}

export function peerSource(address: string): string {
  return PEER + address;
}

/** @returns undefined for what is no node's */
export function nodeOfSource(source: string): string | undefined {
  return source.startsWith(NODE) ? source.slice(NODE.length) : undefined;
}

export function isPeerSource(source: string): boolean {
  return source.startsWith(PEER);
}
