/**
 * The place where the table of cases against the kernel's VXLAN is played: one vtepd, one host with the kernel's VTEPs,
 * a raw sender at each end and on the wire, and captures of all that arrives. Test support.
 *
 *     host a: vtepd 192.0.2.1:4789                     host b: the kernel, 192.0.2.2:4789, also 192.0.2.66 and .67
 *     network  VNI   MTU                containers     device, made anew for each group of cases
 *     mixed    4242  1450               box            vx0
 *     jumbo    4243  8950, the default  box-jumbo      vxj
 *     big      4244  9000, over it      box-big        vxg
 *     bulk     4245  1450, not captured box-bulk       vxb
 *
 * The underlay's MTU is 9000. A MAC of `mixed` is registered by `ghost`, a node at 192.0.2.67 that is nothing but
 * entries in the registry.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Container, createHostPair, type HostPair, UNDERLAY, waitFor } from '../e2e/host-pair.js';
import { FrameStream } from './frame-stream.js';

const SENDER = new URL('./raw-frames.mjs', import.meta.url).pathname;
const VIRTIO_HEADER_HEX = '00'.repeat(10);

export const KERNEL_MAC = '02:00:5e:00:00:64';
export const GHOST_MAC = '02:00:5e:00:00:99';
export const VTEP_A = '192.0.2.1';
export const VTEP_KERNEL = '192.0.2.2';
/** A second peer of `mixed`. */
export const VTEP_SECOND = '192.0.2.66';
export const VTEP_GHOST = '192.0.2.67';
/** Of no VTEP, but of host b. */
export const STRANGER = '192.0.2.77';

export type NetworkName = 'mixed' | 'jumbo' | 'big' | 'bulk';

interface Place {
  readonly vni: number;
  readonly mtu: number;
  readonly device: string;
  readonly container: string;
  /** The container has .2 in it, and the kernel's device .100. */
  readonly subnet: string;
  readonly subnet6: string;
  readonly options: readonly string[];
}

const place = (vni: number, mtu: number, device: string, name: string, options: readonly string[]): Place => ({
  ...{ vni, mtu, device, options, container: name },
  ...{ subnet: `10.${vni - 4200}.0`, subnet6: `fd00:${vni}:` },
});

export const PLACES: Record<NetworkName, Place> = {
  mixed: place(4242, 1450, 'vx0', 'box', ['--mtu', '1450']),
  jumbo: place(4243, 8950, 'vxj', 'box-jumbo', []),
  big: place(4244, 9000, 'vxg', 'box-big', ['--mtu', '9000']),
  bulk: place(4245, 1450, 'vxb', 'box-bulk', ['--mtu', '1450']),
};
const NETWORKS = Object.keys(PLACES) as NetworkName[];

export interface KernelSettings {
  /** More words for `ip link add ... type vxlan`. */
  readonly vxlan?: string;
  /** Of the device. @default the network's */
  readonly mtu?: number;
  /** Pairs for `ethtool -K` of the device. */
  readonly offloads?: string;
  /** Other than the network's. */
  readonly vni?: number;
  readonly address?: string;
  /** Without one, the device may have any MTU. @default true */
  readonly lower?: boolean;
}

/** A process that sends raw frames in a namespace. */
class Sender {
  readonly #child: ChildProcess;
  readonly #answers: ((answer: string) => void)[] = [];
  readonly ready: Promise<string>;
  #text = '';

  constructor(netns: string) {
    const stdio: ['pipe', 'pipe', 'inherit'] = ['pipe', 'pipe', 'inherit'];
    this.#child = spawn('ip', ['netns', 'exec', netns, process.execPath, SENDER], { stdio });
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      const lines = (this.#text + chunk).split('\n');
      this.#text = lines.pop() ?? '';
      for (const line of lines) this.#answers.shift()?.(line);
    });
    this.#child.once('exit', () => {
      for (const answer of this.#answers.splice(0)) answer('the sender has ended');
    });
    this.ready = this.#nextAnswer();
  }

  #nextAnswer(): Promise<string> {
    return new Promise((resolve) => this.#answers.push(resolve));
  }

  async send(index: number, frame: Uint8Array): Promise<void> {
    const answer = this.#nextAnswer();
    this.#child.stdin?.write(`${index} ${VIRTIO_HEADER_HEX}${Buffer.from(frame).toString('hex')}\n`);
    const text = await answer;
    if (text !== 'sent') throw new Error(`a frame of ${frame.length} bytes was not sent: ${text}`);
  }

  end(): void {
    this.#child.kill('SIGKILL');
  }
}

export class Lab {
  readonly containers = {} as Record<NetworkName, Container>;
  /** What reaches each container, and each of the kernel's devices. */
  readonly atContainer = {} as Record<NetworkName, FrameStream>;
  readonly atKernel = {} as Record<NetworkName, FrameStream>;
  readonly underlayMac = { a: '', b: '' };
  readonly capture: string;
  readonly #senders = new Map<string, Sender>();
  readonly #indexes = new Map<string, number>();

  private constructor(readonly pair: HostPair) {
    this.capture = join(pair.folder, 'underlay.pcap');
  }

  static async open(): Promise<Lab> {
    const lab = new Lab(await createHostPair({ startDaemons: false, mtu: 9000 }));
    try {
      await lab.#setUp();
    } catch (error) {
      await lab.close();
      throw error;
    }
    return lab;
  }

  async #setUp(): Promise<void> {
    const { pair } = this;
    await pair.startDaemon('a');
    for (const address of [VTEP_SECOND, VTEP_GHOST, STRANGER]) {
      await pair.mustExec('b', 'ip', 'addr', 'add', `${address}/24`, 'dev', UNDERLAY);
    }
    for (const host of ['a', 'b'] as const) {
      this.underlayMac[host] = (await this.#link(host, UNDERLAY)).address;
    }
    // Only what is on VXLAN's ports and the protocols beside them; `bulk` would fill the file.
    const vniWord = `0x${(PLACES.bulk.vni * 256).toString(16)}`;
    const filter = `not tcp and not (udp dst port 4789 and udp[12:4] = ${vniWord})`;
    const dump = ['-i', UNDERLAY, '-U', '--immediate-mode', '-B', '8192', '-s', '0', '-Z', 'root'];
    pair.spawn('dump', pair.netns('a'), 'tcpdump', ...dump, '-w', this.capture, filter);
    this.#senders.set('b', new Sender(pair.netns('b')));
    for (const name of NETWORKS) await this.#addNetwork(name);
    await Promise.all([...this.#senders.values()].map((sender) => sender.ready));
    await waitFor('tcpdump', () => pair.log('dump').includes('listening on'));
    await this.#addGhost();
  }

  async #addNetwork(name: NetworkName): Promise<void> {
    const { pair } = this;
    const { vni, container, options, subnet, subnet6 } = PLACES[name];
    const subnets = ['--subnet', `${subnet}.0/24`];
    await pair.mustVtep('a', 'network', 'create', name, '--vni', String(vni), ...subnets, ...options);
    for (const address of name === 'mixed' ? [VTEP_KERNEL, VTEP_SECOND] : [VTEP_KERNEL]) {
      await pair.mustVtep('a', 'peer', 'add', '--network', name, '--address', address);
    }
    const box = await pair.addContainer('a', container, name);
    await pair.mustExec(container, 'ip', 'addr', 'add', `${subnet6}:2/64`, 'dev', box.interface, 'nodad');
    this.containers[name] = box;
    this.#senders.set(container, new Sender(box.netns));
    this.#indexes.set(container, (await this.#link(container, box.interface)).ifindex);
    if (name !== 'bulk') this.atContainer[name] = await FrameStream.open(box.netns, box.interface);
  }

  /** An endpoint of a host that does not exist. Its session is not renewed: it outlives the test. */
  async #addGhost(): Promise<void> {
    const put = async (path: string, value: object) => {
      const url = `http://${VTEP_A}:8500/v1/${path}`;
      return (await this.pair.mustExec('a', 'curl', '-sf', '-X', 'PUT', '-d', JSON.stringify(value), url)).stdout;
    };
    const { ID } = JSON.parse(await put('session/create', { TTL: '600s', Behavior: 'delete' })) as { ID: string };
    const vtep = { ip: VTEP_GHOST, port: 4789 };
    const node = { v: 1, vtep, apiVersion: 1, features: [], instanceId: 'ghost' };
    await put(`kv/vtep/v1/nodes/ghost?acquire=${ID}`, node);
    const endpoint = { id: 'ghost-1', name: '', mac: GHOST_MAC, addresses: [`${PLACES.mixed.subnet}.99/24`] };
    await put(`kv/vtep/v1/endpoints/mixed/ghost?acquire=${ID}`, { v: 1, endpoints: [endpoint] });
    await waitFor("the ghost's MAC", async () => (await this.fdb('mixed')).some(({ mac }) => mac === GHOST_MAC));
  }

  async #link(where: string, device: string): Promise<{ ifindex: number; address: string }> {
    return (await this.pair.mustExec(where, 'ip', '-json', 'link', 'show', 'dev', device)).json()[0];
  }

  /** Makes the kernel's device of the network anew: learning on, all unknown to vtepd, ready to answer .100. */
  async makeKernel(name: NetworkName, settings: KernelSettings = {}): Promise<void> {
    const { device, subnet, subnet6, mtu, vni } = PLACES[name];
    await this.removeKernel(name);
    const vxlan = `id ${settings.vni ?? vni} dstport 4789 local ${settings.address ?? VTEP_KERNEL}`;
    const lower = settings.lower === false ? '' : `dev ${UNDERLAY}`;
    const steps = [
      `ip link add ${device} address ${KERNEL_MAC} type vxlan ${vxlan} ${lower} ${settings.vxlan ?? 'learning'}`,
      `bridge fdb append 00:00:00:00:00:00 dev ${device} dst ${VTEP_A}`,
      `ip addr add ${subnet}.100/24 dev ${device}`,
      `ip addr add ${subnet6}:100/64 dev ${device} nodad`,
      ...(settings.offloads === undefined ? [] : [`ethtool -K ${device} ${settings.offloads}`]),
      `ip link set ${device} mtu ${settings.mtu ?? mtu} up`,
      `cat /sys/class/net/${device}/ifindex`,
    ];
    const { stdout } = await this.pair.mustExec('b', 'bash', '-ec', steps.join('\n'));
    this.#indexes.set(device, Number(stdout.trim().split('\n').at(-1)));
    if (name !== 'bulk') this.atKernel[name] = await FrameStream.open(this.pair.netns('b'), device);
  }

  async removeKernel(name: NetworkName): Promise<void> {
    this.atKernel[name]?.end();
    await this.pair.exec('b', 'ip', 'link', 'del', PLACES[name].device);
  }

  sendFromContainer(name: NetworkName, frame: Uint8Array): Promise<void> {
    const { container } = PLACES[name];
    return this.#send(container, this.#indexes.get(container), frame);
  }

  sendFromKernel(name: NetworkName, frame: Uint8Array): Promise<void> {
    return this.#send('b', this.#indexes.get(PLACES[name].device), frame);
  }

  /** From host b's underlay interface, outer Ethernet header and all. */
  async sendOnWire(frame: Uint8Array): Promise<void> {
    if (!this.#indexes.has(UNDERLAY)) this.#indexes.set(UNDERLAY, (await this.#link('b', UNDERLAY)).ifindex);
    return this.#send('b', this.#indexes.get(UNDERLAY), frame);
  }

  #send(where: string, index: number | undefined, frame: Uint8Array): Promise<void> {
    const sender = this.#senders.get(where);
    if (sender === undefined || index === undefined) throw new Error(`nothing sends from ${where}`);
    return sender.send(index, frame);
  }

  // biome-ignore lint/suspicious/noExplicitAny: a test names what it expects
  #get(path: string): Promise<any> {
    return new Promise((resolve, reject) => {
      request({ socketPath: this.pair.socketPath('a'), path }, (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('end', () => resolve(JSON.parse(Buffer.concat(chunks).toString())));
      })
        .on('error', reject)
        .end();
    });
  }

  status(): Promise<{ drops: Record<string, number>; totals: Record<string, number> }> {
    return this.#get('/v1/status');
  }

  fdb(name: NetworkName): Promise<{ mac: string; kind: string; vtep?: { address: string }; idleSeconds?: number }[]> {
    return this.#get(`/v1/fdb?network=${name}`);
  }

  /** A shell line on host b, or in a container. */
  async shell(where: string, script: string): Promise<string> {
    return (await this.pair.mustExec(where, 'bash', '-ec', script)).stdout;
  }

  /** Ends the capture of the wire, once all is in it. */
  async endCapture(): Promise<void> {
    await sleep(100);
    await this.pair.exec('a', 'bash', '-c', 'kill -INT $(ip netns pids "$1" | xargs -n1 pgrep -x tcpdump -P)', '-');
  }

  async close(): Promise<void> {
    for (const sender of this.#senders.values()) sender.end();
    for (const stream of [...Object.values(this.atContainer), ...Object.values(this.atKernel)]) stream.end();
    await this.pair.cleanup();
  }
}
