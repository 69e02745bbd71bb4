/** Offloads: what a switch, a probe's answer and the counters make of each; and this kernel's own answers. */
import { describe, expect, it } from 'vitest';
import type { ForwardingStatus, OffloadStatus } from '../../src/control/forwarding.js';
import { OFFLOAD_NAMES, type OffloadName, type OffloadSwitches } from '../../src/control/offload-switches.js';
import { closeOffloads, noteRefusals, type OffloadProbes, probeOffloads } from '../../src/control/offloads.js';
import { TUN_F_CSUM, TUN_F_TSO, TUN_F_TSO4, TUN_F_TSO6, TUN_F_USO } from '../../src/sys/tap.js';

const AUTO = Object.fromEntries(OFFLOAD_NAMES.map((name) => [name, 'auto'])) as OffloadSwitches;
const without = (...names: OffloadName[]): OffloadSwitches => ({
  ...AUTO,
  ...Object.fromEntries(names.map((name) => [name, 'off'])),
});
const refuse = (reason: string) => (): never => {
  throw new Error(reason);
};

/** A kernel that can all, but for what is said; counts what it was asked. */
function kernel(answers: Partial<OffloadProbes> = {}): OffloadProbes & { asked: string[] } {
  const asked: string[] = [];
  const all: OffloadProbes = {
    tapFlags: () => TUN_F_CSUM | TUN_F_TSO | TUN_F_USO,
    udpSegment: () => {},
    udpGro: () => {},
    simd: () => {},
    tapSteering: () => 77,
    ...answers,
  };
  const counted = Object.fromEntries(
    Object.entries(all).map(([name, probe]) => [
      name,
      () => {
        asked.push(name);
        return probe();
      },
    ]),
  ) as unknown as OffloadProbes;
  return { ...counted, asked };
}

const state = (status: readonly OffloadStatus[]) => Object.fromEntries(status.map((row) => [row.name, row.state]));

describe('probes and switches', () => {
  it('all on, each asked once', () => {
    const probes = kernel();
    const offloads = probeOffloads(AUTO, 1, [4], probes);
    expect(offloads).toMatchObject({
      worker: { underlayGso: true, underlayGro: true, coalesceTcp: true, coalesceUdp: true, simdChecksum: true },
      tapFlags: TUN_F_CSUM | TUN_F_TSO | TUN_F_USO,
      steeringFd: undefined,
    });
    expect(offloads.status).toEqual(OFFLOAD_NAMES.map((name) => ({ name, state: 'on' })));
    expect(probes.asked.sort()).toEqual(['simd', 'tapFlags', 'udpGro', 'udpSegment']);
  });

  it('all off: nothing is asked, checksums are still ours', () => {
    const probes = kernel();
    const offloads = probeOffloads(without(...OFFLOAD_NAMES), 1, [4], probes);
    expect(Object.values(offloads.worker)).toEqual(Array(5).fill(false));
    expect(offloads.tapFlags).toBe(TUN_F_CSUM);
    expect(offloads.status).toEqual(OFFLOAD_NAMES.map((name) => ({ name, state: 'off' })));
    expect(probes.asked).toEqual([]);
  });

  it.each(OFFLOAD_NAMES)('%s off is off alone', (name) => {
    const { status } = probeOffloads(without(name), 1, [4], kernel());
    expect(state(status)).toEqual({ ...Object.fromEntries(OFFLOAD_NAMES.map((n) => [n, 'on'])), [name]: 'off' });
  });

  it('a kernel without USO has none both ways, also where the TAP side is switched off', () => {
    const tapFlags = () => TUN_F_CSUM | TUN_F_TSO;
    const detail = 'the TAP takes no USO flags; Linux 6.2 and later do';
    const offloads = probeOffloads(AUTO, 1, [4], kernel({ tapFlags }));
    expect(offloads.status).toContainEqual({ name: 'tap-uso', state: 'unsupported', detail });
    expect(offloads.status).toContainEqual({ name: 'coalesce-udp', state: 'unsupported', detail });
    expect(offloads).toMatchObject({ tapFlags: TUN_F_CSUM | TUN_F_TSO, worker: { coalesceUdp: false } });
    const { worker } = probeOffloads(without('tap-uso'), 1, [4], kernel({ tapFlags }));
    expect(worker.coalesceUdp).toBe(false);
  });

  it('TSO without ECN is TSO', () => {
    const { status } = probeOffloads(AUTO, 1, [4], kernel({ tapFlags: () => TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 }));
    expect(state(status)['tap-tso']).toBe('on');
  });

  it('what the kernel refuses is unsupported, and says why', () => {
    const probes = kernel({
      tapFlags: refuse('open /dev/net/tun: EPERM'),
      udpSegment: refuse('setsockopt UDP_SEGMENT: ENOPROTOOPT'),
      udpGro: refuse('setsockopt UDP_GRO: ENOPROTOOPT'),
      simd: refuse('no SIMD'),
      tapSteering: refuse('bpf: EPERM'),
    });
    const { status, worker, steeringFd } = probeOffloads(AUTO, 2, [4], probes);
    expect(status).toEqual([
      { name: 'tap-tso', state: 'unsupported', detail: 'open /dev/net/tun: EPERM' },
      { name: 'tap-uso', state: 'unsupported', detail: 'open /dev/net/tun: EPERM' },
      { name: 'underlay-gso', state: 'unsupported', detail: 'setsockopt UDP_SEGMENT: ENOPROTOOPT' },
      { name: 'underlay-gro', state: 'unsupported', detail: 'setsockopt UDP_GRO: ENOPROTOOPT' },
      { name: 'coalesce-tcp', state: 'on' },
      { name: 'coalesce-udp', state: 'unsupported', detail: 'open /dev/net/tun: EPERM' },
      { name: 'simd-checksum', state: 'unsupported', detail: 'no SIMD' },
      { name: 'tap-steering', state: 'unsupported', detail: 'bpf: EPERM' },
    ]);
    expect(worker).toMatchObject({ underlayGso: false, underlayGro: false, coalesceTcp: true, simdChecksum: false });
    expect(steeringFd).toBeUndefined();
  });

  it('flows are steered where there is more than one worker', () => {
    const { status, steeringFd } = probeOffloads(AUTO, 2, [4], kernel());
    expect(status.at(-1)).toEqual({ name: 'tap-steering', state: 'on' });
    expect(steeringFd).toBe(77);
  });

  it('this kernel answers each (needs root and /dev/net/tun)', () => {
    const offloads = probeOffloads(AUTO, 2, [4]);
    try {
      expect(state(offloads.status)).toMatchObject({ 'tap-tso': 'on', 'coalesce-tcp': 'on', 'simd-checksum': 'on' });
      for (const { state, detail } of offloads.status) expect(detail !== undefined).toBe(state === 'unsupported');
    } finally {
      closeOffloads(offloads);
    }
  });
});

describe('what the kernel refuses later', () => {
  const on: OffloadStatus[] = ['underlay-gso', 'coalesce-tcp', 'tap-tso'].map((name) => ({ name, state: 'on' }));
  const vtep = (last: number, tx_gso_refused: number) => ({
    address: `10.30.10.${last}`,
    port: 4789,
    counters: { tx_gso_refused },
  });
  const network = (name: string, tap_gso_refused: number) => ({
    vni: 256,
    network: name,
    counters: { tap_gso_refused },
  });
  const details = (frames: Partial<ForwardingStatus>, offloads = on) =>
    noteRefusals(offloads, { totals: {}, networks: [], vteps: [], ...frames }).map(({ detail }) => detail);

  it('nothing: no detail', () => {
    const frames = { totals: { tap_gso_refused: 0 }, networks: [network('n', 0)], vteps: [vtep(112, 0)] };
    expect(noteRefusals(on, frames)).toEqual(on);
  });

  it('by routes', () => {
    const one = { vteps: [vtep(111, 0), vtep(112, 12)] };
    expect(details(one)).toEqual(['refused 12 times by the route to 10.30.10.112', undefined, undefined]);
    expect(details({ vteps: [vtep(112, 1)] })[0]).toBe('refused 1 time by the route to 10.30.10.112');
    const many = { vteps: [vtep(1, 1), vtep(2, 5), vtep(3, 3), vtep(4, 2), vtep(5, 0)] };
    expect(details(many)[0]).toBe('refused 11 times by the routes to 10.30.10.2, 10.30.10.3, 10.30.10.4 and 1 more');
  });

  it('by TAPs, also of networks that are closed by now', () => {
    const frames = { totals: { tap_gso_refused: 7 }, networks: [network('red', 3), network('blue', 4)] };
    expect(details(frames)[1]).toBe('refused 7 times by the TAPs of blue, red');
    expect(details({ ...frames, totals: { tap_gso_refused: 8 } })[1]).toBe(
      'refused 8 times by the TAPs of blue, red, closed networks',
    );
  });

  it('is no matter of what is off or unsupported', () => {
    const rows: OffloadStatus[] = [
      { name: 'underlay-gso', state: 'off' },
      { name: 'coalesce-udp', state: 'unsupported', detail: 'no USO' },
    ];
    expect(details({ totals: { tap_gso_refused: 3 }, vteps: [vtep(112, 12)] }, rows)).toEqual([undefined, 'no USO']);
  });
});
