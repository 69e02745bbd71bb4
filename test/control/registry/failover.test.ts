/** Which server is asked: a table, and random histories against the rules that failover.ts states. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Failover, MOVED } from '../../../src/control/registry/failover.js';

const always = () => true;

describe('Failover', () => {
  it('asks each server at most once, stays where it was answered, and moves only for an answer', async () => {
    const histories = fc.array(fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }), { maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(histories, async (history) => {
        const servers = new Failover([0, 1, 2]);
        let current = 0;
        for (const isUp of history) {
          const asked: number[] = [];
          const attempt = async (server: number) => {
            asked.push(server);
            if (!isUp[server]) throw new Error('down');
            return server;
          };
          const answer = await servers.run(attempt, always).catch(() => undefined);
          const order = [0, 1, 2].map((step) => (current + step) % 3);
          const first = order.findIndex((server) => isUp[server]);
          expect(asked).toEqual(first < 0 ? order : order.slice(0, first + 1));
          if (answer !== undefined) current = answer;
          expect(servers.current).toBe(current);
        }
      }),
    );
  });

  it('ends with the first failure that another server can not mend', async () => {
    const servers = new Failover(['a', 'b']);
    const asked: string[] = [];
    const attempt = async (server: string) => {
      asked.push(server);
      throw new Error(server);
    };
    await expect(servers.run(attempt, () => false)).rejects.toThrow('a');
    expect(asked).toEqual(['a']);
  });

  it('takes along who waits at the old server, and does not go back for who was late', async () => {
    const servers = new Failover(['a', 'b']);
    const waitedAt: string[] = [];
    const waiting = servers.run(async (server, moved) => {
      waitedAt.push(server);
      if (server === 'b') return 'news';
      return new Promise<string>((_resolve, reject) => moved.addEventListener('abort', () => reject(MOVED)));
    }, always);
    let failLate = (_error: Error) => {};
    const late = servers.run(async (server) => {
      if (server === 'b') return server;
      return new Promise<string>((_resolve, reject) => {
        failLate = reject;
      });
    }, always);
    const moving = (server: string) => (server === 'a' ? Promise.reject(new Error('down')) : Promise.resolve(server));
    expect(await servers.run(moving, always)).toBe('b');
    expect(await waiting).toBe('news');
    expect(waitedAt).toEqual(['a', 'b']);
    failLate(new Error('late'));
    expect(await late).toBe('b');
    expect(servers.current).toBe('b');
  });
});
