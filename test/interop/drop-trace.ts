/**
 * Why the kernel drops packets: its own reasons, from the tracepoint kfree_skb in a trace of the test's own. Where there is
 * no tracefs, nothing is seen. Only what the VXLAN driver itself drops is counted, but everybody's on this machine. Test support; no part of vtep.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';

const TRACING = '/sys/kernel/tracing';
const PREFIX = 'vtep-test-';
/** What the VXLAN driver gives as its reasons, and no other driver often. */
const REASONS = [
  'VXLAN_INVALID_HDR',
  'VXLAN_VNI_NOT_FOUND',
  'MAC_INVALID_SOURCE',
  'VXLAN_ENTRY_EXISTS',
  'LOCAL_MAC',
  'IP_TUNNEL_ECN',
  'PKT_TOO_SMALL',
  'NOMEM',
];

export class DropTrace {
  readonly #folder: string | undefined;

  constructor() {
    const instances = `${TRACING}/instances`;
    const event = `${TRACING}/events/skb/kfree_skb/format`;
    if (!existsSync(instances) || !existsSync(event)) return;
    // Of tests that were killed.
    for (const name of readdirSync(instances)) {
      if (name.startsWith(PREFIX) && !existsSync(`/proc/${name.slice(PREFIX.length)}`))
        rmdirSync(`${instances}/${name}`);
    }
    const folder = `${instances}/${PREFIX}${process.pid}`;
    const numbers = REASONS.flatMap((reason) => {
      const match = new RegExp(`\\{ (\\d+), "${reason}" \\}`).exec(readFileSync(event, 'utf8'));
      return match === null ? [] : [`reason == ${match[1]}`];
    });
    if (numbers.length === 0) return;
    mkdirSync(folder);
    this.#folder = folder;
    writeFileSync(`${folder}/events/skb/kfree_skb/filter`, numbers.join(' || '));
    writeFileSync(`${folder}/events/skb/kfree_skb/enable`, '1');
  }

  get isThere(): boolean {
    return this.#folder !== undefined;
  }

  clear(): void {
    if (this.#folder !== undefined) writeFileSync(`${this.#folder}/trace`, '');
  }

  /** Drops since clear(), by reason, in lower case. */
  counts(): Record<string, number> {
    const found: Record<string, number> = {};
    if (this.#folder === undefined) return found;
    for (const [, reason] of readFileSync(`${this.#folder}/trace`, 'utf8').matchAll(
      /location=\w*vxlan.* reason: (\w+)/g,
    )) {
      const name = (reason as string).toLowerCase();
      found[name] = (found[name] ?? 0) + 1;
    }
    return found;
  }

  /** What a fate of that name is called where nothing is seen. */
  seen(fate: string): string {
    return this.isThere || !REASONS.includes(fate.toUpperCase()) ? fate : 'lost';
  }

  close(): void {
    if (this.#folder !== undefined) rmdirSync(this.#folder);
  }
}
