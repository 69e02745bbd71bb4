/**
 * What fast-check draws for the reference and for the data plane: streams of frames as an underlay brings them, and
 * superframes as a TAP gives them. Test support.
 *
 * A stream is a list of *steps*, each some consecutive frames of one of the flows; at most one thing is odd in a step. So
 * long runs that may be merged are as common as each reason not to.
 */
import fc from 'fast-check';
import { BASE_SPEC, emitFrame, emitSuperframe, type FrameSpec, payloadOf } from './frame-spec.js';
import { TCP, UDP } from './packet.js';
import { GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, PLAIN, tapMessageOf } from './virtio-header.js';

const FLOWS_MAX = 4;
/** What a stream may hold at most, so that a property stays quick. */
const FRAMES_MAX = 250;

const FIN = 0x01;
const SYN = 0x02;
const RST = 0x04;
const PSH = 0x08;
const ACK = 0x10;
const URG = 0x20;
const ECE = 0x40;
const CWR = 0x80;

/** NOP, NOP, timestamps: what nearly all TCP has. */
const timestamps = fc
  .integer({ min: 0, max: 0xffff })
  .map((value) => Uint8Array.of(1, 1, 8, 10, 0, 0, value >> 8, value, 0, 0, 0, 9));
const paddingOptions = fc.constantFrom(0, 4, 8, 40).map((bytes) => new Uint8Array(bytes).fill(1));
export const tcpOptions = fc.oneof(timestamps, paddingOptions);

const uint16 = fc.nat(0xffff);
/** Often right before the wrap. */
const sequences = fc.oneof(fc.nat(0xffff_ffff), fc.integer({ min: 0xffff_ff00, max: 0xffff_ffff }));
const ids = fc.oneof(uint16, fc.integer({ min: 0xfff0, max: 0xffff }));

/** The constant part of a flow. */
export const flowSpecs: fc.Arbitrary<FrameSpec> = fc
  .record({
    family: fc.constantFrom(4 as const, 6 as const),
    protocol: fc.constantFrom<typeof TCP | typeof UDP>(TCP, UDP),
    sourceMac: fc.integer({ min: 1, max: 3 }),
    source: fc.integer({ min: 2, max: 4 }),
    destination: fc.integer({ min: 5, max: 7 }),
    hopLimit: fc.constantFrom(1, 63, 64, 255),
    tos: fc.constantFrom(0, 1, 2, 0xb8),
    flowLabel: fc.constantFrom(0, 1, 0xfffff),
    fragmentField: fc.constantFrom(0, 0x4000),
    sourcePort: fc.constantFrom(1, 40_000, 0xffff),
    destinationPort: fc.constantFrom(53, 5201),
    id: ids,
    sequence: sequences,
    acknowledgement: sequences,
    window: uint16,
    reservedBits: fc.constantFrom(0, 0, 0, 0, 1),
    tcpOptions,
  })
  .map((drawn) => ({ ...BASE_SPEC, ...drawn }));

/** One frame of any kind that the specification knows, faults included. */
export const frameSpecs: fc.Arbitrary<FrameSpec> = fc
  .record({
    flow: flowSpecs,
    vlanIds: fc.constantFrom([], [], [], [7], [7, 8]),
    flags: fc.oneof(fc.constantFrom(ACK, ACK | PSH), fc.nat(255)),
    reservedBits: fc.constantFrom(0, 0, 0, 1, 8),
    urgent: fc.constantFrom(0, 0, 1),
    ipOptions: fc.constantFrom(0, 0, 4, 40).map((bytes) => new Uint8Array(bytes).fill(1)),
    extensionBytes: fc.constantFrom(0, 0, 8, 64),
    fragmentField: fc.constantFrom(0, 0x4000, 0x4000, 0x2000, 0x0010, 0x8000),
    payload: fc.record({ bytes: fc.integer({ min: 0, max: 1448 }), seed: uint16 }),
    fault: fc.constantFrom<FrameSpec['fault']>(
      'none',
      'none',
      'none',
      'bad checksum',
      'bad header checksum',
      'no checksum',
      'padding',
      'false length',
      'cut short',
    ),
  })
  .map(({ flow, payload, ...drawn }) => ({ ...flow, ...drawn, payload: payloadOf(payload.bytes, payload.seed) }));

/** A finished or faulty Ethernet frame. */
export const frames: fc.Arbitrary<Uint8Array> = frameSpecs.map(emitFrame);

/** What is odd about one frame of a step; each is a reason not to merge it, or to end the aggregate behind it. */
const ODDITIES: Record<string, (spec: FrameSpec) => FrameSpec> = {
  push: (spec) => ({ ...spec, flags: ACK | PSH }),
  fin: (spec) => ({ ...spec, flags: ACK | FIN }),
  syn: (spec) => ({ ...spec, flags: SYN }),
  rst: (spec) => ({ ...spec, flags: RST }),
  urg: (spec) => ({ ...spec, flags: ACK | URG, urgent: 1 }),
  ece: (spec) => ({ ...spec, flags: ACK | ECE }),
  cwr: (spec) => ({ ...spec, flags: ACK | CWR }),
  'no ack': (spec) => ({ ...spec, flags: 0 }),
  'urgent pointer': (spec) => ({ ...spec, urgent: 5 }),
  acknowledgement: (spec) => ({ ...spec, acknowledgement: (spec.acknowledgement + 1) % 0x1_0000_0000 }),
  'reserved bits': (spec) => ({ ...spec, reservedBits: 1 }),
  window: (spec) => ({ ...spec, window: spec.window ^ 1 }),
  'sequence forward': (spec) => ({ ...spec, sequence: (spec.sequence + 1) % 0x1_0000_0000 }),
  'sequence back': (spec) => ({ ...spec, sequence: (spec.sequence + 0xffff_ffff) % 0x1_0000_0000 }),
  options: (spec) => ({ ...spec, tcpOptions: spec.tcpOptions.map((byte, i) => (i === 3 ? byte ^ 2 : byte)) }),
  'fewer options': (spec) => ({ ...spec, tcpOptions: spec.tcpOptions.slice(0, 4) }),
  'id stands': (spec) => ({ ...spec, id: (spec.id + 0xffff) % 0x1_0000 }),
  'id jumps': (spec) => ({ ...spec, id: (spec.id + 1) % 0x1_0000 }),
  ttl: (spec) => ({ ...spec, hopLimit: spec.hopLimit - 1 }),
  tos: (spec) => ({ ...spec, tos: spec.tos ^ 3 }),
  df: (spec) => ({ ...spec, fragmentField: spec.fragmentField ^ 0x4000 }),
  'first fragment': (spec) => ({ ...spec, fragmentField: 0x2000 }),
  'later fragment': (spec) => ({ ...spec, fragmentField: 0x0100 }),
  'reserved bit': (spec) => ({ ...spec, fragmentField: 0x8000 }),
  'flow label': (spec) => ({ ...spec, flowLabel: spec.flowLabel ^ 4 }),
  'ip options': (spec) => ({ ...spec, ipOptions: new Uint8Array(4).fill(1), extensionBytes: 8 }),
  vlan: (spec) => ({ ...spec, vlanIds: [7] }),
  'two vlans': (spec) => ({ ...spec, vlanIds: [7, 8] }),
  'other mac': (spec) => ({ ...spec, sourceMac: 9 }),
  'other source': (spec) => ({ ...spec, source: 9 }),
  'other port': (spec) => ({ ...spec, destinationPort: spec.destinationPort + 1 }),
  empty: (spec) => ({ ...spec, payload: new Uint8Array(0) }),
  shorter: (spec) => ({ ...spec, payload: spec.payload.slice(1) }),
  longer: (spec) => ({ ...spec, payload: payloadOf(spec.payload.length + 1, 1) }),
  'bad checksum': (spec) => ({ ...spec, fault: 'bad checksum' }),
  'bad header checksum': (spec) => ({ ...spec, fault: 'bad header checksum' }),
  'no checksum': (spec) => ({ ...spec, fault: 'no checksum' }),
  padding: (spec) => ({ ...spec, fault: 'padding' }),
  'false length': (spec) => ({ ...spec, fault: 'false length' }),
  'cut short': (spec) => ({ ...spec, fault: 'cut short' }),
};
/** Of the order, not of a frame: this frame comes again, or after the next one. */
const DISORDERS = ['twice', 'late'] as const;

export const ODDITY_NAMES: readonly string[] = [...Object.keys(ODDITIES), ...DISORDERS];

interface Step {
  readonly flowIndex: number;
  readonly payloadBytes: number;
  readonly count: number;
  /** 0: a sender that gives no ids where DF is set. */
  readonly idStep: number;
  /** The last frame's payload, as a part of the others'. */
  readonly lastPart: number;
  readonly oddity: string | undefined;
  /** The odd frame's place in the step, as a part. */
  readonly oddPart: number;
}

const parts = fc.integer({ min: 0, max: 99 }).map((percent) => percent / 100);
const steps: fc.Arbitrary<Step> = fc.record({
  flowIndex: fc.nat(FLOWS_MAX - 1),
  payloadBytes: fc.oneof(fc.constantFrom(1, 2, 18, 512, 1000, 1448), fc.integer({ min: 1, max: 1448 })),
  count: fc.oneof({ weight: 5, arbitrary: fc.integer({ min: 1, max: 6 }) }, fc.integer({ min: 40, max: 70 })),
  idStep: fc.constantFrom(1, 1, 1, 0),
  lastPart: fc.oneof(fc.constant(1), parts),
  oddity: fc.option(fc.constantFrom(...ODDITY_NAMES), { nil: undefined, freq: 3 }),
  oddPart: parts,
});

/** One frame after the other of a flow: ids and sequence numbers go on. */
function play(state: { spec: FrameSpec }, step: Step): Uint8Array[] {
  const oddIndex = Math.floor(step.oddPart * step.count);
  const emitted: Uint8Array[] = [];
  for (let i = 0; i < step.count; i++) {
    const isLast = i === step.count - 1;
    const bytes = isLast ? Math.max(1, Math.round(step.payloadBytes * step.lastPart)) : step.payloadBytes;
    const plain = { ...state.spec, payload: payloadOf(bytes, state.spec.sequence) };
    const change = i === oddIndex ? ODDITIES[step.oddity ?? ''] : undefined;
    emitted.push(emitFrame(change === undefined ? plain : change(plain)));
    state.spec = {
      ...state.spec,
      id: (state.spec.id + step.idStep) % 0x1_0000,
      sequence: (state.spec.sequence + bytes) % 0x1_0000_0000,
    };
  }
  const odd = emitted[oddIndex] as Uint8Array;
  if (step.oddity === 'twice') emitted.splice(oddIndex, 0, odd);
  if (step.oddity === 'late') emitted.splice(oddIndex, 2, ...emitted.slice(oddIndex, oddIndex + 2).reverse());
  return emitted;
}

/** Frames in arrival order, as an underlay brings them: several flows interleaved, now and then an odd frame. */
export const frameStreams: fc.Arbitrary<Uint8Array[]> = fc
  .record({
    flows: fc.array(flowSpecs, { minLength: FLOWS_MAX, maxLength: FLOWS_MAX }),
    steps: fc.array(steps, { minLength: 1, maxLength: 24 }),
  })
  .map((drawn) => {
    const states = drawn.flows.map((spec) => ({ spec }));
    return drawn.steps.flatMap((step) => play(states[step.flowIndex]!, step)).slice(0, FRAMES_MAX);
  });

const superframeSpecs: fc.Arbitrary<FrameSpec> = fc
  .record({
    flow: flowSpecs,
    vlanIds: fc.constantFrom([], [], [7], [7, 8]),
    flags: fc.oneof(fc.constantFrom(ACK, ACK | PSH, ACK | PSH | FIN, ACK | CWR), fc.nat(255)),
    reservedBits: fc.constantFrom(0, 0, 0, 1, 8),
    urgent: fc.constantFrom(0, 0, 1),
    ipOptions: fc.constantFrom(0, 0, 4, 40).map((bytes) => new Uint8Array(bytes).fill(1)),
    extensionBytes: fc.constantFrom(0, 0, 8, 64),
  })
  .map(({ flow, ...drawn }) => ({ ...flow, ...drawn }));

/** A message with a superframe of at most 65,000 bytes of payload and at most 2,000 segments. */
export const superframes: fc.Arbitrary<Uint8Array> = fc
  .record({
    spec: superframeSpecs,
    gsoSize: fc.oneof(fc.constantFrom(1, 2, 536, 1000, 1288, 1388, 1448), fc.integer({ min: 1, max: 1448 })),
    payloadBytes: fc.oneof(fc.integer({ min: 1, max: 5000 }), fc.integer({ min: 1, max: 65_000 })),
    /** Often exactly so many segments. */
    wholeSegments: fc.option(fc.integer({ min: 1, max: 64 }), { nil: undefined }),
    seed: uint16,
    ecn: fc.boolean(),
    hdrLen: fc.oneof(fc.constant(undefined), uint16),
  })
  .map(({ spec, gsoSize, payloadBytes, wholeSegments, seed, ecn, hdrLen }) => {
    const bytes = wholeSegments === undefined ? payloadBytes : wholeSegments * gsoSize;
    const payload = payloadOf(Math.min(bytes, 65_000, 2000 * gsoSize), seed);
    return emitSuperframe({ ...spec, payload }, gsoSize, { ecn, ...(hdrLen === undefined ? {} : { hdrLen }) });
  });

/** A single packet, finished (virtio header 0) or with its checksum left to us. */
export const plainMessages: fc.Arbitrary<Uint8Array> = fc.oneof(
  frames.map((frame) => tapMessageOf(PLAIN, frame)),
  fc
    .record({ spec: superframeSpecs, bytes: fc.integer({ min: 0, max: 1448 }), seed: uint16 })
    .map(({ spec, bytes, seed }) =>
      emitSuperframe({ ...spec, payload: payloadOf(bytes, seed) }, 0, { gsoType: PLAIN.gsoType, hdrLen: 0 }),
    ),
);

/** Messages whose virtio header does not fit the frame: nothing of them may go out. */
export const invalidMessages: fc.Arbitrary<Uint8Array> = fc
  .record({ spec: superframeSpecs, bytes: fc.integer({ min: 1, max: 3000 }), pick: fc.nat(99) })
  .map(({ spec, bytes, pick }) => {
    const whole = { ...spec, payload: payloadOf(bytes, 1) };
    const wrongType =
      spec.protocol === UDP ? [GSO_TCPV4, GSO_TCPV6] : [GSO_UDP_L4, spec.family === 4 ? GSO_TCPV6 : GSO_TCPV4];
    const wrong = [
      emitSuperframe(whole, 0),
      emitSuperframe(whole, 100, { gsoType: 3 }),
      emitSuperframe(whole, 100, { gsoType: 6 }),
      emitSuperframe(whole, 100, { flags: 0 }),
      emitSuperframe(whole, 100, { csumStart: 0xffff }),
      emitSuperframe(whole, 100, { csumStart: 13 }),
      emitSuperframe(whole, 100, { csumOffset: 0xffff }),
      emitSuperframe(whole, 100, { csumOffset: 4 }),
      emitSuperframe(whole, 100).slice(0, 40),
      emitSuperframe(whole, 100).slice(0, 20),
      tapMessageOf({ ...PLAIN, flags: NEEDS_CSUM, csumStart: bytes, csumOffset: 2000 }, emitFrame(whole)),
      ...wrongType.map((gsoType) => emitSuperframe(whole, 100, { gsoType })),
    ];
    return wrong[pick % wrong.length] as Uint8Array;
  });

/** A superframe with up to four bytes of its virtio header and its headers replaced: some are still right. */
export const mutatedSuperframes: fc.Arbitrary<Uint8Array> = fc
  .record({
    spec: superframeSpecs,
    bytes: fc.integer({ min: 200, max: 3000 }),
    gsoSize: fc.integer({ min: 100, max: 1448 }),
    changes: fc.array(fc.record({ at: fc.nat(120), value: fc.oneof(fc.nat(255), fc.nat(8)) }), {
      minLength: 1,
      maxLength: 4,
    }),
  })
  .map(({ spec, bytes, gsoSize, changes }) => {
    const message = emitSuperframe({ ...spec, payload: payloadOf(bytes, 1) }, gsoSize);
    for (const { at, value } of changes) message[at] = value;
    return message;
  });
