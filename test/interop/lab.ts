/**
 * The place where the table of cases against the kernel's VXLAN is played: one vtepd, one host with the kernel's VTEPs,
 * a raw sender at each end and on the wire, and captures of all that arrives. Test support.
 *
 * Which networks there are, and who has which address: places.ts. The kernel's devices are made anew for each group of
 * cases. A MAC of some networks is registered by `ghost`, a node that is nothing but entries in the registry.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createHostPair, type HostPair, UNDERLAY, waitFor } from '../e2e/host-pair.js';
import { FrameStream } from './frame-stream.js';
import {
  GHOST_MAC,
  KERNEL_MAC,
  type NetworkName,
  PLACES,
  STRANGER,
  STRANGER6,
  VTEP_A,
  VTEP_A6,
  VTEP_GHOST,
  VTEP_KERNEL,
  VTEP_KERNEL6,
  VTEP_SECOND,
} from './places.js';

const SENDER = new URL('./raw-frames.mjs', import.meta.url).pathname;
const VIRTIO_HEADER_HEX = '00'.repeat(10);
const NETWORKS = Object.keys(PLACES) as NetworkName[];

interface Status {
  readonly drops: Record<string, number>;
  readonly totals: Record<string, number>;
  readonly vteps: readonly { address: string }[];
}

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
  /** Floods go there, instead of to vtepd. */
  readonly group?: string;
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
    await waitFor('tcpdump', () => pair.log('dump').includes('listening on'));
    this.#senders.set('b', new Sender(pair.netns('b')));
    await Promise.all(NETWORKS.map((name) => this.#addNetwork(name)));
    await Promise.all([...this.#senders.values()].map((sender) => sender.ready));
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
    const { vni, container, subnet, subnet6, family, options } = PLACES[name];
    const subnets = [`${subnet}.0/24`, `${subnet6}:/64`];
    await this.call('POST', '/v1/networks', { name, vni, subnets, ...options });
    const kernel = family === 4 ? VTEP_KERNEL : VTEP_KERNEL6;
    for (const address of name === 'mixed' ? [kernel, VTEP_SECOND] : [kernel]) {
      await this.call('POST', '/v1/peers', { network: name, address });
    }
    const netns = await pair.addNamespace(container);
    const endpoint = await this.call('POST', '/v1/endpoints', { network: name, netns, name: container });
    const box: Box = { netns, mac: endpoint.mac, interface: endpoint.local.containerInterface };
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
    for (const name of ['mixed', 'guarded'] as const) {
      const addresses = [`${PLACES[name].subnet}.99/24`, `${PLACES[name].subnet6}:99/64`];
      const endpoint = { id: `ghost-${name}`, name: '', mac: GHOST_MAC, addresses };
      await put(`kv/vtep/v1/endpoints/${name}/ghost?acquire=${ID}`, { v: 1, endpoints: [endpoint] });
      await waitFor("the ghost's MAC", async () => (await this.fdb(name)).some(({ mac }) => mac === GHOST_MAC));
    }
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
    const group = settings.group === undefined ? '' : `group ${settings.group}`;
    const options = `${lower} ${group} ${settings.vxlan ?? 'learning'}`;
    const steps = [
      `ip link add ${device} address ${KERNEL_MAC} type vxlan ${vxlan} ${options}`,
      ...(group === '' ? [`bridge fdb append 00:00:00:00:00:00 dev ${device} dst ${vtepd}`] : []),
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

  status(): Promise<Status> {
    return this.call('GET', '/v1/status');
  }

  fdb(name: NetworkName): Promise<{ mac: string; kind: string; vtep?: { address: string }; idleSeconds?: number }[]> {
    return this.call('GET', `/v1/fdb?network=${name}`);
  }

  /** vtepd ends, and starts with more options. */
  async restart(...options: string[]): Promise<void> {
    await this.pair.killDaemon('a', 'SIGTERM');
    this.pair.daemonOptions = ['--underlay-family', 'both', ...options];
    await this.pair.startDaemon('a');
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
