/** Network namespaces for tests, named vtct-<process>-<n>, removed afterwards also when the test failed. Test support. */
import { execa } from 'execa';

export class Namespaces {
  private readonly names = new Set<string>();

  async add(): Promise<string> {
    const name = `vtct-${process.pid}-${++count}`;
    this.names.add(name);
    await execa('ip', ['netns', 'add', name]);
    return name;
  }

  async remove(name: string): Promise<void> {
    await execa('ip', ['netns', 'del', name], { reject: false });
    this.names.delete(name);
  }

  async removeAll(): Promise<void> {
    for (const name of [...this.names]) await this.remove(name);
  }
}

let count = 0;

export const inHost = (name: string): string[] => ['nsenter', `--net=/run/netns/${name}`];

/** Runs `ip` in the namespace. @returns its output. */
export async function ip(name: string, ...args: string[]): Promise<string> {
  return (await execa('ip', ['-n', name, ...args])).stdout;
}

/** The names of the links in the namespace, without lo. */
export async function linkNames(name: string): Promise<string[]> {
  const links = JSON.parse((await ip(name, '-json', 'link', 'show')) || '[]') as { ifname: string }[];
  return links
    .map((link) => link.ifname)
    .filter((link) => link !== 'lo')
    .sort();
}

export interface Detail {
  ifname: string;
  address: string;
  mtu: number;
  master?: string;
  ifalias?: string;
  flags: string[];
  inet6_addr_gen_mode: string;
  linkinfo?: { info_data?: Record<string, number> };
}

export async function link(name: string, dev: string): Promise<Detail> {
  return (JSON.parse(await ip(name, '-json', '-details', 'link', 'show', 'dev', dev)) as Detail[])[0]!;
}
