/**
 * A vtepd that dies between any two of its effects: what it would do to kernel, registry, local copy and data plane goes
 * through one gate, which lets the first few through and then nothing more, for ever. Test support.
 */
import type { Iproute } from '../../src/control/ports/iproute.js';
import type { PortTable } from '../../src/control/ports/port-security.js';
import type { Registry } from '../../src/control/registry/registry.js';
import type { LocalState } from '../../src/control/state/local-state.js';
import type { FakeForwarding } from './fake-forwarding.js';

const EFFECTS = new Set([
  ...['ip', 'batch', 'ipIn', 'setSysctlIn', 'removeLink', 'apply', 'remove'],
  ...['put', 'compareAndSet', 'acquire', 'delete', 'compareAndDelete', 'deleteTree', 'transaction'],
  ...['createSession', 'destroySession'],
  ...['setSession', 'putIntent', 'removeIntent', 'putEndpoint', 'stopEndpoint', 'removeEndpoint'],
  ...['putStock', 'removeStock'],
  ...['putReservation', 'removeReservation', 'putPluginRecord', 'removePluginRecord'],
  ...['putNetwork', 'removeNetwork', 'openNetwork', 'closeNetwork'],
]);
/** What answers at once, and so has to throw: a data plane that is no more tells nobody. */
const IMMEDIATE = new Set(['openNetwork', 'setLocal', 'setRemote', 'removeRemote', 'saveSnapshot', 'removeSnapshot']);

export class CrashGate {
  /** Each effect that was let through since it was armed. */
  readonly passed: string[] = [];
  dead = false;
  private left = Number.POSITIVE_INFINITY;
  private died!: () => void;
  readonly death = new Promise<void>((resolve) => {
    this.died = resolve;
  });

  /** @param count effects that happen from now on; the next one is the process's end. */
  arm(count: number): void {
    this.passed.length = 0;
    this.left = count;
  }

  die(): void {
    this.dead = true;
    this.died();
  }

  wrap<T extends Registry | Iproute | PortTable | LocalState | FakeForwarding>(target: T, what: string): T {
    return new Proxy(target, {
      get: (_, name: string) => {
        const value: unknown = Reflect.get(target, name, target);
        if (name === 'monitorLinks') return () => ({ close: async () => undefined });
        // Its own helpers, and closing: the process's end closes all.
        if (typeof value !== 'function' || name === 'close') return value;
        return (...args: unknown[]) => {
          if (EFFECTS.has(name)) this.count(`${what}.${name}`);
          if (!this.dead) return (value as (...all: unknown[]) => unknown).apply(target, args);
          if (IMMEDIATE.has(name)) throw new Error('dead');
          return new Promise(() => undefined);
        };
      },
    });
  }

  private count(effect: string): void {
    if (this.dead) return;
    if (this.left === 0) {
      this.die();
      return;
    }
    this.left--;
    this.passed.push(effect);
  }
}
