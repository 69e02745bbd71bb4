/** nft's table of port security in memory, as far as which ports are in it. Test support. */
import type { PortTable } from '../../../src/control/ports/port-security.js';

export class FakePortTable implements PortTable {
  private readonly all = new Set<string>();

  /** The host interfaces that are secured. */
  ports(): string[] {
    return [...this.all].sort();
  }

  async apply(text: string): Promise<void> {
    const whole = /set ports \{[^}]*?elements = \{([^}]*)\}/.exec(text);
    if (text.startsWith('add table')) this.all.clear();
    const added = whole?.[1] ?? /^add element bridge vtep ports \{(.*)\}/m.exec(text)?.[1] ?? '';
    for (const [, name] of added.matchAll(/"([^"]+)"/g)) this.all.add(name!);
    const deleted = /^delete element bridge vtep ports \{(.*)\}/m.exec(text)?.[1] ?? '';
    for (const [, name] of deleted.matchAll(/"([^"]+)"/g)) this.all.delete(name!);
  }

  async listing(): Promise<string> {
    return '{"nftables": []}';
  }

  async remove(): Promise<void> {
    this.all.clear();
  }
}
