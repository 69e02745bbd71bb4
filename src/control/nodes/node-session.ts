/**
 * This node's presence in the registry: a session with TTL, and nodes/<node> held by it. Control plane, main thread.
 *
 *     start ─▶ stored session alive? ─yes▶ reuse ─┐
 *                   └─no▶ create ────────────────┴▶ lock nodes/<node> ─▶ live ─(every TTL/3)▶ renew
 *                                                        │ held by another          │ false: lost
 *                              same VTEP address: destroy that session              └▶ create, publish all again
 *                              another address: VTEP_ERR_NODE_NAME_IN_USE
 *
 * The registry's absence changes nothing here but the pace: it is asked again with back-off, for ever.
 */
import type { Logger } from 'pino';
import { VtepError } from '../errors.js';
import type { Registry } from '../registry/registry.js';
import { encodeValue, nodeKey, nodeValueSchema, parseNode } from '../registry/schema.js';
import type { LocalState } from '../state/local-state.js';

const RETRY_MS_MIN = 500;
const LOCK_TRIES_MAX = 3;
const API_VERSION = 1;

export interface NodeSessionOptions {
  readonly registry: Registry;
  readonly node: string;
  readonly vtep: { readonly ip: string; readonly port: number };
  readonly ttlSeconds: number;
  /** New at each start of the daemon. */
  readonly instanceId: string;
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
  /** Something is to be published: at first, after a loss, after an absence. */
  private due = true;
  private publishing: Promise<void> | undefined;
  private beating: Promise<void> | undefined;

  constructor(options: NodeSessionOptions) {
    this.options = options;
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

  /** Someone else removed what this node had published: publish it again at once. */
  republish(): void {
    this.due = true;
    if (this.closed) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.turn(), 0);
  }

  private schedule(): void {
    if (this.closed) return;
    const beatMs = (this.options.ttlSeconds * 1000) / 3;
    const backOffMs = Math.min(beatMs, RETRY_MS_MIN * 2 ** (this.failures - 1)) * (0.75 + Math.random() / 2);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.turn(), this.failures === 0 ? beatMs : backOffMs);
  }

  private async turn(): Promise<void> {
    if (this.beating !== undefined) return;
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
    const { registry, logger, state } = this.options;
    if (this.session !== undefined && !(await registry.renewSession(this.session))) {
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
    const { registry, node, vtep, state, logger } = this.options;
    let session = live ?? state.session;
    if (live === undefined && session !== undefined && !(await registry.renewSession(session))) session = undefined;
    if (session === undefined) {
      session = await registry.createSession(`vtepd ${node}`, this.options.ttlSeconds);
      await state.setSession(session);
    }
    const key = nodeKey(node);
    const value = encodeValue(nodeValueSchema, {
      v: 1,
      vtep: { ip: vtep.ip, port: vtep.port },
      apiVersion: API_VERSION,
      features: [],
      instanceId: this.options.instanceId,
    });
    for (let tries = 0; tries < LOCK_TRIES_MAX; tries++) {
      if (await registry.transaction([{ verb: 'lock', key, value, session }])) return session;
      const holder = await registry.get(key);
      if (holder?.session === undefined || holder.session === session) continue;
      const other = parseNode(holder);
      if (other === undefined || other.vtep.ip !== vtep.ip) {
        await registry.destroySession(session);
        await state.setSession(undefined);
        const at = other === undefined ? 'another host' : `the host at ${other.vtep.ip}`;
        throw new VtepError(
          'VTEP_ERR_NODE_NAME_IN_USE',
          `node name "${node}" is in use by ${at}: give this host (${vtep.ip}) another with --node`,
        );
      }
      logger.info(
        { event: 'node.taken-over', session: holder.session },
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
