/**
 * Asks, for networks that choose by themselves, whether their multicast group reaches the other hosts, and answers the
 * others' probes. Main thread.
 *
 *     round due ─▶ probe, by a sending socket of the data plane, to the group ─▶ another host's worker ─▶ its event ring
 *                                                                                                            │
 *     FloodChoice ◀─ event ring ◀─ this host's worker ◀─ answer to this VTEP alone, with the probe's nonce ◀─┘
 *
 * Only VTEPs of the network are heard (the workers' check of every datagram), and an answer counts for the round whose
 * random nonce it has. Rounds wait for one another where they would bring more than some hundred answers a second, and no
 * more probes than some thousand a second are answered.
 */
import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import { emitGroupProbe, GROUP_ANSWER, GROUP_PROBE, GROUP_PROBE_BYTES } from '../wire/group-probe.js';
import { FloodChoice, type FloodDecision } from './flood-choice.js';

const ANSWERS_A_SECOND = 500;
const PROBES_ANSWERED_A_SECOND = 2000;
const SECOND_MS = 1000;

export interface GroupProberOptions {
  /** Other hosts from which on multicast pays. */
  readonly hostsMin: number;
  /** To a row of the VTEP table. */
  readonly send: (vtepIndex: number, datagram: Uint8Array) => void;
  readonly nameOf: (vtepIndex: number) => string;
  /** Floods of the network go by its group from now on, or do not. */
  readonly onChange: (networkIndex: number, isMulticast: boolean) => void;
  readonly logger: Logger;
  /** @default performance.now */
  readonly nowMs?: () => number;
}

interface Probed {
  readonly name: string;
  readonly vni: number;
  readonly groupVtep: number;
  readonly choice: FloodChoice;
  nonceHigh: number;
  nonceLow: number;
  isMulticast: boolean;
}

export class GroupProber {
  readonly #options: GroupProberOptions;
  readonly #nowMs: () => number;
  readonly #networks = new Map<number, Probed>();
  #timer: NodeJS.Timeout | undefined;
  #timerAtMs = Number.POSITIVE_INFINITY;
  /** What may still be asked for and answered in this second. */
  #budget = { secondMs: 0, answers: ANSWERS_A_SECOND, answered: 0 };

  constructor(options: GroupProberOptions) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? (() => performance.now());
  }

  open(networkIndex: number, { name, vni }: { name: string; vni: number }, groupVtep: number): void {
    const choice = new FloodChoice(this.#options.hostsMin, this.#options.nameOf);
    this.#networks.set(networkIndex, { name, vni, groupVtep, choice, nonceHigh: 0, nonceLow: 0, isMulticast: false });
  }

  close(networkIndex: number): void {
    this.#networks.delete(networkIndex);
  }

  addMember(networkIndex: number, vtepIndex: number, isPeer: boolean): void {
    this.#change(networkIndex, ({ choice }) => {
      if (isPeer) choice.addPeer(vtepIndex);
      else choice.addHost(vtepIndex, this.#nowMs());
    });
  }

  removeMember(networkIndex: number, vtepIndex: number, isPeer: boolean): void {
    this.#change(networkIndex, ({ choice }) => choice.remove(vtepIndex, isPeer, this.#nowMs()));
  }

  /** The underlay has moved, or was away. */
  startAgain(): void {
    for (const index of this.#networks.keys()) this.#change(index, ({ choice }) => choice.startAgain(this.#nowMs()));
  }

  /** A worker has got a probe or an answer from a VTEP of the network. */
  heard(type: number, networkIndex: number, nonceHigh: number, nonceLow: number, vtepIndex: number): void {
    const probed = this.#networks.get(networkIndex);
    if (probed === undefined) return;
    if (type === GROUP_PROBE) {
      this.#renewBudget();
      if (this.#budget.answered++ >= PROBES_ANSWERED_A_SECOND) return;
      this.#send(vtepIndex, GROUP_ANSWER, probed.vni, nonceHigh, nonceLow);
    } else if (nonceHigh === probed.nonceHigh && nonceLow === probed.nonceLow) {
      probed.choice.answered(vtepIndex);
    }
  }

  decision(networkIndex: number): FloodDecision | undefined {
    return this.#networks.get(networkIndex)?.choice.decision();
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#networks.clear();
  }

  #change(networkIndex: number, change: (probed: Probed) => void): void {
    const probed = this.#networks.get(networkIndex);
    if (probed === undefined) return;
    change(probed);
    this.#apply(networkIndex, probed);
    this.#arm(probed.choice.dueMs());
  }

  #apply(networkIndex: number, probed: Probed): void {
    const { isMulticast } = probed.choice;
    if (isMulticast === probed.isMulticast) return;
    probed.isMulticast = isMulticast;
    this.#options.onChange(networkIndex, isMulticast);
    const { via, reason } = probed.choice.decision();
    const text = `network "${probed.name}" floods by ${isMulticast ? 'multicast' : 'copies'}: ${reason}`;
    this.#options.logger.info({ event: `flood.${via}`, network: probed.name }, text);
  }

  #tick(): void {
    this.#renewBudget();
    const nowMs = this.#nowMs();
    let nextMs = Number.POSITIVE_INFINITY;
    for (const [index, probed] of this.#networks) {
      const { choice } = probed;
      const mayBegin = choice.tick(nowMs);
      this.#apply(index, probed);
      if (mayBegin && this.#budget.answers > 0) {
        this.#budget.answers -= choice.memberCount;
        this.#beginRound(probed, nowMs);
      }
      nextMs = Math.min(
        nextMs,
        mayBegin && choice.dueMs() <= nowMs ? this.#budget.secondMs + SECOND_MS : choice.dueMs(),
      );
    }
    this.#arm(nextMs);
  }

  #beginRound(probed: Probed, nowMs: number): void {
    const nonce = randomBytes(8);
    probed.nonceHigh = nonce.readInt32BE(0);
    probed.nonceLow = nonce.readInt32BE(4);
    probed.choice.begin(nowMs);
    this.#send(probed.groupVtep, GROUP_PROBE, probed.vni, probed.nonceHigh, probed.nonceLow);
  }

  #send(vtepIndex: number, type: number, vni: number, nonceHigh: number, nonceLow: number): void {
    const datagram = new Uint8Array(GROUP_PROBE_BYTES);
    emitGroupProbe(datagram, 0, type, vni, nonceHigh, nonceLow);
    this.#options.send(vtepIndex, datagram);
  }

  /** A network with more hosts than that takes what the seconds after it would have. */
  #renewBudget(): void {
    const nowMs = this.#nowMs();
    const seconds = Math.floor((nowMs - this.#budget.secondMs) / SECOND_MS);
    if (seconds < 1) return;
    const answers = Math.min(ANSWERS_A_SECOND, this.#budget.answers + seconds * ANSWERS_A_SECOND);
    this.#budget = { secondMs: nowMs, answers, answered: 0 };
  }

  #arm(atMs: number): void {
    if (atMs === Number.POSITIVE_INFINITY || atMs >= this.#timerAtMs) return;
    clearTimeout(this.#timer);
    this.#timerAtMs = atMs;
    const fire = () => {
      this.#timerAtMs = Number.POSITIVE_INFINITY;
      this.#tick();
    };
    this.#timer = setTimeout(fire, Math.max(1, Math.ceil(atMs - this.#nowMs())));
    this.#timer.unref();
  }
}
