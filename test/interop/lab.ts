/**
 * The place where the table of cases against the kernel's VXLAN is played: one vtepd, one host with the kernel's VTEPs,
 * a raw sender at each end and on the wire, and captures of all that arrives. Test support.
 *
 *     host a: vtepd 192.0.2.1, 2001:db8::1             host b: the kernel, 192.0.2.2, 2001:db8::2, and more addresses
 *     network  VNI   MTU                container      device, made anew for each group of cases
 *     mixed    4242  1450               box            vx0
 *     jumbo    4243  8930, the default  box-jumbo      vxj
 *     big      4244  9000, over it      box-big        vxg
 *     bulk     4245  1450, not captured box-bulk       vxb
 *     six      4246  1430, over IPv6    box-six        vx6
 *     bulk6    4247  1430, the same     box-bulk6      vxb6, not captured
 *
 * The underlay's MTU is 9000. A MAC of `mixed` is registered by `ghost`, a node at 192.0.2.67 that is nothing but
 * entries in the registry.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createHostPair, type HostPair, UNDERLAY, waitFor } from '../e2e/host-pair.js';
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
export const VTEP_A6 = '2001:db8::1';
export const VTEP_KERNEL6 = '2001:db8::2';
export const STRANGER6 = '2001:db8::77';

export type NetworkName = 'mixed' | 'jumbo' | 'big' | 'bulk' | 'six' | 'bulk6';

interface Place {
  /** Of the underlay. */
  readonly family: 4 | 6;
  readonly vni: number;
  readonly mtu: number;
  readonly device: string;
  readonly container: string;
  /** The container has .2 in it, and the kernel's device .100. */
  readonly subnet: string;
  readonly subnet6: string;
}

const place = (vni: number, mtu: number, device: string, name: string, family: 4 | 6 = 4): Place => ({
  ...{ vni, mtu, device, container: name, family },
  ...{ subnet: `10.${vni - 4200}.0`, subnet6: `fd00:${vni}:` },
});

export const PLACES: Record<NetworkName, Place> = {
  mixed: place(4242, 1450, 'vx0', 'box'),
  jumbo: place(4243, 8930, 'vxj', 'box-jumbo'),
  big: place(4244, 9000, 'vxg', 'box-big'),
  bulk: place(4245, 1450, 'vxb', 'box-bulk'),
  six: place(4246, 1430, 'vx6', 'box-six', 6),
  bulk6: place(4247, 1430, 'vxb6', 'box-bulk6', 6),
};
const NETWORKS = Object.keys(PLACES) as NetworkName[];

/** The containers' frames come from whatever addresses a case wants. */
const OPEN = { portSecurity: false, arpSuppression: false };

interface Box {
  readonly netns: string;
  readonly mac: string;
  readonly interface: string;
}

const isBulk = (name: NetworkName) => name.startsWith('bulk');

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
  readonly containers = {} as Record<NetworkName, Box>;
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
    await this.#addAddresses('a', `${VTEP_A6}/64`);
    pair.daemonOptions = ['--underlay-family', 'both'];
    await pair.startDaemon('a');
    const more = [VTEP_SECOND, VTEP_GHOST, STRANGER].map((address) => `${address}/24`);
    await this.#addAddresses('b', ...more, `${VTEP_KERNEL6}/64`, `${STRANGER6}/64`);
    for (const host of ['a', 'b'] as const) {
      this.underlayMac[host] = (await this.#link(host, UNDERLAY)).address;
    }
    // Only what is on VXLAN's ports and the protocols beside them; `bulk` would fill the file.
    const word = (name: NetworkName) => `0x${(PLACES[name].vni * 256).toString(16)}`;
    const bulk = `(ip and udp[12:4] = ${word('bulk')}) or (ip6 and ip6[52:4] = ${word('bulk6')})`;
    const filter = `not tcp and not (udp dst port 4789 and (${bulk}))`;
    const dump = ['-i', UNDERLAY, '-U', '--immediate-mode', '-B', '8192', '-s', '0', '-Z', 'root'];
    pair.spawn('dump', pair.netns('a'), 'tcpdump', ...dump, '-w', this.capture, filter);
    this.#senders.set('b', new Sender(pair.netns('b')));
    for (const name of NETWORKS) await this.#addNetwork(name);
    await Promise.all([...this.#senders.values()].map((sender) => sender.ready));
    await waitFor('tcpdump', () => pair.log('dump').includes('listening on'));
    await this.#addGhost();
  }

  async #addAddresses(host: 'a' | 'b', ...addresses: string[]): Promise<void> {
    const steps = addresses.map((address) => {
      return `ip addr add ${address} dev ${UNDERLAY} ${address.includes(':') ? 'nodad' : ''}`;
    });
    await this.shell(host, steps.join('\n'));
  }

  async #addNetwork(name: NetworkName): Promise<void> {
    const { pair } = this;
    const { vni, mtu, container, subnet, subnet6, family } = PLACES[name];
    const more = name === 'jumbo' ? {} : { mtuBytes: mtu };
    await this.call('POST', '/v1/networks', { name, vni, subnets: [`${subnet}.0/24`], ...OPEN, ...more });
    const kernel = family === 4 ? VTEP_KERNEL : VTEP_KERNEL6;
    for (const address of name === 'mixed' ? [kernel, VTEP_SECOND] : [kernel]) {
      await this.call('POST', '/v1/peers', { network: name, address });
    }
    const netns = await pair.addNamespace(container);
    const endpoint = await this.call('POST', '/v1/endpoints', { network: name, netns, name: container });
    const box: Box = { netns, mac: endpoint.mac, interface: endpoint.local.containerInterface };
    await pair.mustExec(container, 'ip', 'addr', 'add', `${subnet6}:2/64`, 'dev', box.interface, 'nodad');
    this.containers[name] = box;
    this.#senders.set(container, new Sender(box.netns));
    this.#indexes.set(container, (await this.#link(container, box.interface)).ifindex);
    if (!isBulk(name)) this.atContainer[name] = await FrameStream.open(box.netns, box.interface);
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
    const { device, subnet, subnet6, mtu, vni, family } = PLACES[name];
    const [local, vtepd] = family === 4 ? [VTEP_KERNEL, VTEP_A] : [VTEP_KERNEL6, VTEP_A6];
    await this.removeKernel(name);
    const vxlan = `id ${settings.vni ?? vni} dstport 4789 local ${settings.address ?? local}`;
    const lower = settings.lower === false ? '' : `dev ${UNDERLAY}`;
    const steps = [
      `ip link add ${device} address ${KERNEL_MAC} type vxlan ${vxlan} ${lower} ${settings.vxlan ?? 'learning'}`,
      `bridge fdb append 00:00:00:00:00:00 dev ${device} dst ${vtepd}`,
      `ip addr add ${subnet}.100/24 dev ${device}`,
      `ip addr add ${subnet6}:100/64 dev ${device} nodad`,
      ...(settings.offloads === undefined ? [] : [`ethtool -K ${device} ${settings.offloads}`]),
      `ip link set ${device} mtu ${settings.mtu ?? mtu} up`,
      `cat /sys/class/net/${device}/ifindex`,
    ];
    const { stdout } = await this.pair.mustExec('b', 'bash', '-ec', steps.join('\n'));
    this.#indexes.set(device, Number(stdout.trim().split('\n').at(-1)));
    if (!isBulk(name)) this.atKernel[name] = await FrameStream.open(this.pair.netns('b'), device);
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

  /** vtepd's API, without a process of the CLI. @throws Error with what it answered, if that is no success */
  // biome-ignore lint/suspicious/noExplicitAny: a test names what it expects
  call(method: string, path: string, body?: object): Promise<any> {
    const headers = body === undefined ? {} : { 'content-type': 'application/json' };
    return new Promise((resolve, reject) => {
      const asked = request({ socketPath: this.pair.socketPath('a'), method, path, headers }, (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          if ((answer.statusCode ?? 500) >= 300) reject(new Error(`${method} ${path}: ${answer.statusCode} ${text}`));
          else resolve(text === '' ? undefined : JSON.parse(text));
        });
      });
      asked.on('error', reject).end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  status(): Promise<{ drops: Record<string, number>; totals: Record<string, number> }> {
    return this.call('GET', '/v1/status');
  }

  fdb(name: NetworkName): Promise<{ mac: string; kind: string; vtep?: { address: string }; idleSeconds?: number }[]> {
    return this.call('GET', `/v1/fdb?network=${name}`);
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
