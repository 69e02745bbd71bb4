/**
 * Offloads: what the kernel takes off a frame's way, each probed at start, each with a switch, each off by itself where
 * the kernel lacks it. Control plane, main thread, once at start; status asks for the result.
 *
 * A probe that fails is no error: the offload is `unsupported`, with the kernel's reason, and the frames go without.
 */
import type { WorkerOffloads } from '../shared/worker-input.js';
import {
  closeTap,
  openThrowawayTap,
  setTapOffloads,
  TUN_F_CSUM,
  TUN_F_TSO,
  TUN_F_TSO4,
  TUN_F_USO,
} from '../sys/tap.js';
import { closeTapSteering, loadTapSteering, steerTap } from '../sys/tap-steering.js';
import { probeUdpGro, probeUdpSegment } from '../sys/udp-offloads.js';
import type { IpFamily } from '../wire/ip-address.js';
import { hasSimd } from '../wire/simd-checksum.js';
import type { ForwardingStatus, OffloadStatus } from './forwarding.js';
import { OFFLOAD_NAMES, type OffloadName, type OffloadSwitches } from './offload-switches.js';

/** Flows keep their queue of a TAP. Asked for by more than one worker; it has no switch. */
const TAP_STEERING = 'tap-steering';
const NO_TSO = 'the TAP takes no TSO flags';
const NO_USO = 'the TAP takes no USO flags; Linux 6.2 and later do';

export interface Offloads {
  readonly worker: WorkerOffloads;
  /** TUN_F_... for each queue of each TAP. */
  readonly tapFlags: number;
  /** The loaded program, this object's to close (closeOffloads). Absent: one worker, or the kernel refuses it. */
  readonly steeringFd: number | undefined;
  /** In the order of OFFLOAD_NAMES. */
  readonly status: readonly OffloadStatus[];
}

/** Each throws the reason why not. */
export interface OffloadProbes {
  /** @returns the TUN_F_... flags that a TAP takes */
  tapFlags(): number;
  udpSegment(family: IpFamily): void;
  udpGro(family: IpFamily): void;
  simd(): void;
  /** @returns the fd of a loaded program that a TAP takes */
  tapSteering(): number;
}

export const KERNEL_PROBES: OffloadProbes = {
  tapFlags: () => withThrowawayTap((fd) => setTapOffloads(fd, TUN_F_CSUM | TUN_F_TSO | TUN_F_USO)),
  udpSegment: probeUdpSegment,
  udpGro: probeUdpGro,
  simd: probeSimd,
  tapSteering: () => {
    const programFd = loadTapSteering();
    try {
      withThrowawayTap((fd) => steerTap(fd, programFd));
      return programFd;
    } catch (error) {
      closeTapSteering(programFd);
      throw error;
    }
  },
};

/** @param families of the underlay: what one of them lacks is off for both */
export function probeOffloads(
  switches: OffloadSwitches,
  workers: number,
  families: readonly IpFamily[],
  probes = KERNEL_PROBES,
): Offloads {
  let tapAnswer: number | Error | undefined;
  /** Asks a TAP once, and only if somebody wants to know. @throws Error */
  const requireTapFlag = (flag: number, refusal: string): void => {
    tapAnswer ??= attempt(probes.tapFlags);
    if (tapAnswer instanceof Error) throw tapAnswer;
    if ((tapAnswer & flag) === 0) throw new Error(refusal);
  };
  const checks: Record<OffloadName, () => void> = {
    'tap-tso': () => requireTapFlag(TUN_F_TSO4, NO_TSO),
    'tap-uso': () => requireTapFlag(TUN_F_USO, NO_USO),
    'underlay-gso': () => families.forEach(probes.udpSegment),
    'underlay-gro': () => families.forEach(probes.udpGro),
    // Superframes of TCP have been taken for as long as there is a virtio header.
    'coalesce-tcp': () => {},
    // Those of UDP came with USO, in the same version.
    'coalesce-udp': () => requireTapFlag(TUN_F_USO, NO_USO),
    'simd-checksum': probes.simd,
  };
  const status: OffloadStatus[] = OFFLOAD_NAMES.map((name) =>
    switches[name] === 'off' ? { name, state: 'off' } : toStatus(name, attempt(checks[name])),
  );
  const steering = workers > 1 ? attempt(probes.tapSteering) : undefined;
  if (steering !== undefined) status.push(toStatus(TAP_STEERING, steering));

  const isOn = (name: OffloadName) => status.some((row) => row.name === name && row.state === 'on');
  return {
    worker: {
      underlayGso: isOn('underlay-gso'),
      underlayGro: isOn('underlay-gro'),
      coalesceTcp: isOn('coalesce-tcp'),
      coalesceUdp: isOn('coalesce-udp'),
      simdChecksum: isOn('simd-checksum'),
    },
    tapFlags: TUN_F_CSUM | (isOn('tap-tso') ? TUN_F_TSO : 0) | (isOn('tap-uso') ? TUN_F_USO : 0),
    steeringFd: typeof steering === 'number' ? steering : undefined,
    status,
  };
}

export function closeOffloads({ steeringFd }: Offloads): void {
  if (steeringFd !== undefined) closeTapSteering(steeringFd);
}

/** Adds what the kernel has refused since: the frames went without the offload, which is still tried. */
export function noteRefusals(
  offloads: readonly OffloadStatus[],
  { totals, networks, vteps }: Pick<ForwardingStatus, 'totals' | 'networks' | 'vteps'>,
): OffloadStatus[] {
  const routes = vteps.map(({ address, counters }) => ({ name: address, count: counters.tx_gso_refused ?? 0 }));
  const gso = refusalText('the route to', 'the routes to', routes);
  const taps = networks.map(({ network, counters }) => ({ name: network, count: counters.tap_gso_refused ?? 0 }));
  // The total also holds what the TAPs of networks that are closed by now have refused.
  const named = taps.reduce((sum, { count }) => sum + count, 0);
  const closed = { name: 'closed networks', count: (totals.tap_gso_refused ?? 0) - named };
  const coalescing = refusalText('the TAP of', 'the TAPs of', [...taps, closed]);
  const details = new Map([
    ['underlay-gso', gso],
    ['coalesce-tcp', coalescing],
    ['coalesce-udp', coalescing],
  ]);
  return offloads.map((row) => {
    const detail = row.state === 'on' ? details.get(row.name) : undefined;
    return detail === undefined ? { ...row } : { ...row, detail };
  });
}

const NAMES_MAX = 3;

function refusalText(
  one: string,
  several: string,
  all: readonly { name: string; count: number }[],
): string | undefined {
  const refusers = all.filter(({ count }) => count > 0).sort((a, b) => b.count - a.count);
  if (refusers.length === 0) return undefined;
  const count = refusers.reduce((sum, refuser) => sum + refuser.count, 0);
  const names = refusers.slice(0, NAMES_MAX).map(({ name }) => name);
  const more = refusers.length > NAMES_MAX ? ` and ${refusers.length - NAMES_MAX} more` : '';
  const times = count === 1 ? '1 time' : `${count} times`;
  return `refused ${times} by ${refusers.length === 1 ? one : several} ${names.join(', ')}${more}`;
}

function toStatus(name: string, answer: unknown): OffloadStatus {
  return answer instanceof Error ? { name, state: 'unsupported', detail: answer.message } : { name, state: 'on' };
}

function attempt<T>(probe: () => T): T | Error {
  try {
    return probe();
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

function withThrowawayTap<T>(use: (fd: number) => T): T {
  const fd = openThrowawayTap();
  try {
    return use(fd);
  } finally {
    closeTap(fd);
  }
}

/** @throws Error if this machine's WebAssembly has no SIMD */
function probeSimd(): void {
  if (!hasSimd()) throw new Error('WebAssembly has no SIMD on this machine');
}
