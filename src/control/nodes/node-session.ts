/**
 * This node's presence in the registry: a session with TTL, and nodes/<node> held by it. Control plane, main thread.
 *
 *     start ─▶ stored session alive? ─yes▶ reuse ─┐
 *                   └─no▶ create ────────────────┴▶ lock nodes/<node> ─▶ live ─(every sixth) ▶ renew
 *                                                        │ held by another          │ false: lost
 *                    same host or same VTEP address: destroy that session           └▶ create, publish all again
 *                    another host: VTEP_ERR_NODE_NAME_IN_USE
 *
 * A session ends twice its TTL after the last renewal, in Consul as in the embedded registry: so it is made with half of
 * the time after which this host is to count as gone, and is renewed six times in that time.
 * Two hosts with one identity (a copied state directory) do not take the name from each other for ever: only a host that
 * has just started or moved takes over from another address.
 *
 * The registry's absence changes nothing here but the pace: it is asked again with back-off, for ever.
 */
import type { Logger } from 'pino';
import { VtepError } from '../errors.js';
import { lockJournalled } from '../registry/journalled-writes.js';
import type { Registry } from '../registry/registry.js';
import { encodeValue, JOURNAL_FEATURE, NODES_PREFIX, nodeKey, nodeValueSchema, parseNode } from '../registry/schema.js';
import type { LocalState } from '../state/local-state.js';
import { allIps, type VtepIps } from '../vtep-address.js';

const RETRY_MS = { min: 500, max: 1000 };
/** Consul invalidates a session when twice its TTL has passed. */
const TTL_FACTOR = 2;
const BEATS_PER_LIFE = 6;
/** A renewal that is not answered by then is lost; the next one must still be in time. */
const RENEWAL_MS_MIN = 1000;
const LOCK_TRIES_MAX = 3;
const API_VERSION = 1;

export interface NodeSessionOptions {
  readonly registry: Registry;
  readonly node: string;
  readonly vtep: VtepIps & { readonly port: number };
  /** How long after its last sign of life this host counts as gone. At least 20, except in tests. */
  readonly ttlSeconds: number;
  /** New at each start of the daemon. */
  readonly instanceId: string;
  /** The same at each start and at each address. */
  readonly hostId: string;
  readonly state: LocalState;
  readonly logger: Logger;
  /** The session is new, or the registry is back: publish all. Called again at the next beat if it rejects. */
  readonly onLive: (session: string) => Promise<void>;
  readonly onContact: (error?: unknown) => void;
}

export class NodeSession {
  private readonly options: NodeSessionOptions;
  private session: string | undefined;
  private timer: NodeJS.Timeout | undefined;
  private closed = false;
  private failures = 0;
  /** The next beat does not wait for its time. */
  private soon = false;
  /** Something is to be published: at first, after a loss, after an absence. */
  private due = true;
  private publishing: Promise<void> | undefined;
  private beating: Promise<void> | undefined;
  private vtep: NodeSessionOptions['vtep'];
  /** Whoever has the name under this host's identity is this host of before. */
  private mayTakeOver = true;

  constructor(options: NodeSessionOptions) {
    this.options = options;
    this.vtep = options.vtep;
  }

  /** The session that holds this node's keys; undefined while there is none. */
  get id(): string | undefined {
    return this.session;
  }

  /** The first beat. A registry that is not reachable is no error: it goes on trying. @throws VtepError VTEP_ERR_NODE_NAME_IN_USE */
  async start(): Promise<void> {
    try {
      await this.beat();
      await this.publishing;
    } catch (error) {
      if (error instanceof VtepError && error.code === 'VTEP_ERR_NODE_NAME_IN_USE') throw error;
      this.failed(error);
    }
    this.schedule();
  }

  /** The session stays: it ends by its TTL, or the next start takes it up again. */
  async close(): Promise<void> {
    this.closed = true;
    clearTimeout(this.timer);
    await this.beating?.catch(() => undefined);
    await this.publishing;
  }

  /** This host has another underlay address: peers are told at once. */
  move(vtep: NodeSessionOptions['vtep']): void {
    this.vtep = vtep;
    this.mayTakeOver = true;
    this.republish();
  }

  /** Someone else removed what this node had published, or the way to the registry is open again: publish it at once. */
  republish(): void {
    this.due = true;
    this.soon = true;
    if (this.beating === undefined) this.schedule();
  }

  private schedule(): void {
    if (this.closed) return;
    const backOffMs = Math.min(this.beatMs, RETRY_MS.max, RETRY_MS.min * 2 ** (this.failures - 1));
    const pausedMs = this.failures === 0 ? this.beatMs : backOffMs * (0.75 + Math.random() / 2);
    const delayMs = this.soon ? 0 : pausedMs;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.turn(), delayMs);
  }

  private get beatMs(): number {
    return (this.options.ttlSeconds * 1000) / BEATS_PER_LIFE;
  }

  private async renew(session: string): Promise<boolean> {
    const limitMs = Math.max(RENEWAL_MS_MIN, this.beatMs);
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<never>((_, reject) => {
      const text = `the registry at ${this.options.registry.url} did not answer a renewal within ${limitMs} ms`;
      timer = setTimeout(() => reject(new VtepError('VTEP_ERR_REGISTRY_UNREACHABLE', text)), limitMs);
    });
    try {
      return await Promise.race([this.options.registry.renewSession(session), limit]);
    } finally {
      clearTimeout(timer);
    }
  }

  private async turn(): Promise<void> {
    if (this.beating !== undefined) return;
    this.soon = false;
    this.beating = this.beat();
    try {
      await this.beating;
    } catch (error) {
      this.failed(error);
    } finally {
      this.beating = undefined;
    }
    this.schedule();
  }

  private async beat(): Promise<void> {
    const { logger, state } = this.options;
    if (this.session !== undefined && !(await this.renew(this.session))) {
      logger.warn(
        { event: 'node.session-lost', session: this.session },
        'the registry has dropped this node: it is entered again',
      );
      this.session = undefined;
      await state.setSession(undefined);
    }
    if (this.session === undefined || this.due) {
      this.session = await this.establish(this.session);
      this.due = true;
    }
    this.options.onContact();
    if (this.failures > 0) logger.info({ event: 'registry.reached' }, 'the registry answers again');
    this.failures = 0;
    if (this.due && this.publishing === undefined) this.publish(this.session);
  }

  private publish(session: string): void {
    this.due = false;
    this.publishing = this.options
      .onLive(session)
      .catch((error: unknown) => {
        this.due = true;
        this.options.logger.warn(
          { event: 'node.publish-failed', err: error },
          `publishing did not succeed, it is tried again: ${messageOf(error)}`,
        );
      })
      .finally(() => {
        this.publishing = undefined;
      });
  }

  private failed(error: unknown): void {
    this.failures += 1;
    this.due = true;
    this.options.onContact(error);
    const level = this.failures === 1 || error instanceof VtepError === false ? 'warn' : 'debug';
    this.options.logger[level](
      { event: 'registry.unreachable', err: error },
      `no word from the registry, forwarding goes on: ${messageOf(error)}`,
    );
  }

  /** @returns a live session that holds nodes/<node>. */
  private async establish(live: string | undefined): Promise<string> {
    const { registry, node, state, logger, hostId } = this.options;
    const { vtep } = this;
    let session = live ?? state.session;
    if (live === undefined && session !== undefined && !(await this.renew(session))) session = undefined;
    if (session === undefined) {
      session = await registry.createSession(`vtepd ${node}`, Math.floor(this.options.ttlSeconds / TTL_FACTOR));
      await state.setSession(session);
    }
    const key = nodeKey(node);
    const value = encodeValue(nodeValueSchema, {
      v: 1,
      vtep: { ip: vtep.ip, port: vtep.port, ...(vtep.otherIp === undefined ? {} : { otherIp: vtep.otherIp }) },
      apiVersion: API_VERSION,
      features: [JOURNAL_FEATURE],
      instanceId: this.options.instanceId,
      hostId,
    });
    for (let tries = 0; tries < LOCK_TRIES_MAX; tries++) {
      if (await lockJournalled(registry, NODES_PREFIX, { key, value, session })) {
        if (this.vtep === vtep) this.mayTakeOver = false;
        return session;
      }
      const holder = await registry.get(key);
      if (holder?.session === undefined || holder.session === session) continue;
      const other = parseNode(holder);
      const isAtOwnAddress = other !== undefined && allIps(other.vtep).some((ip) => allIps(vtep).includes(ip));
      const isThisHost = isAtOwnAddress || (this.mayTakeOver && other?.hostId === hostId);
      if (!isThisHost) {
        await registry.destroySession(session);
        await state.setSession(undefined);
        const at = other === undefined ? 'another host' : `the host at ${other.vtep.ip}`;
        throw new VtepError(
          'VTEP_ERR_NODE_NAME_IN_USE',
          `node name "${node}" is in use by ${at}: give this host (${vtep.ip}) another with --node`,
        );
      }
      logger.info(
        { event: 'node.taken-over', session: holder.session, from: other?.vtep.ip },
        'this node was entered by an earlier run: it is taken over',
      );
      await registry.destroySession(holder.session);
    }
    throw new VtepError(
      'VTEP_ERR_CONFLICT',
      `node name "${node}" is being entered by someone else at the same moment; try again`,
    );
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
