/** The local copy on a disk that is full, from a newer version, damaged or gone. */
import { mkdtempSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execaSync } from 'execa';
import { open } from 'lmdb';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type LocalEndpoint, LocalState } from '../../../src/control/state/local-state.js';

let directory: string;
const ends: (() => Promise<void> | void)[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vtct-'));
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
  rmSync(directory, { recursive: true, force: true });
});

function start(): LocalState {
  const state = new LocalState(directory);
  ends.push(() => state.close());
  return state;
}

async function stop(state: LocalState): Promise<void> {
  ends.length = 0;
  await state.close();
}

const endpoint = (id: string, more: Partial<LocalEndpoint> = {}): LocalEndpoint => ({
  ...{ id, name: id, network: 'blue', vni: 256, mac: '02:00:5e:10:00:01', addresses: ['10.0.0.2/24'], mtuBytes: 1450 },
  ...{ sandbox: 'netns:x', sandboxIdentity: '4:1', hostInterface: `vtep-p${id}`, containerInterface: 'eth0', ...more },
});
const item = (address: string, claimId: string) => ({ network: 'blue', networkId: 'n', address, claimId });

describe('what is written', () => {
  it('is there after a restart, snapshots included', async () => {
    const state = start();
    await state.putIntent({ id: 'a', network: 'blue' });
    await state.putIntent({ id: 'b', network: 'blue' });
    await state.putStock(item('10.0.0.254/24', 'spare-1'));
    await state.putStock(item('10.0.0.253/24', 'spare-2'));
    await state.putEndpoint(endpoint('a', { heldAs: { '10.0.0.254': 'spare-1' } }));
    state.saveSnapshot('nodes/', [{ key: 'nodes/x', value: '{}', createIndex: 1, modifyIndex: 2 }]);
    await stop(state);

    const again = start();
    expect(again.intents()).toEqual([{ id: 'b', network: 'blue' }]);
    expect(again.stock().map(({ address }) => address)).toEqual(['10.0.0.253/24']);
    expect(again.endpoints().map(({ id }) => id)).toEqual(['a']);
    expect(again.snapshot('nodes/')).toHaveLength(1);
    await again.removeEndpoint('a', [item('10.0.0.2/24', 'a')]);
    again.removeSnapshot('nodes/');
    expect(again.snapshot('nodes/')).toEqual([]);
    expect(again.stock().map(({ claimId }) => claimId)).toEqual(['a', 'spare-2']);
    expect(again.setAside).toBeUndefined();
  });
});

describe('a damaged database', () => {
  const path = () => join(directory, 'state.lmdb');
  const damages: [string, () => void][] = [
    ['is not a database', () => writeFileSync(path(), 'garbage'.repeat(9000))],
    ['is empty', () => writeFileSync(path(), '')],
    ['was cut short', () => truncateSync(path(), statSync(path()).size / 2)],
    [
      'has lost its head',
      () => execaSync('dd', ['if=/dev/zero', `of=${path()}`, 'bs=4096', 'count=2', 'conv=notrunc']),
    ],
  ];
  it.each(damages)('that %s is set aside, kept, and told', async (what, damage) => {
    const state = start();
    for (let number = 0; number < 200; number++) await state.putEndpoint(endpoint(`e${number}`));
    await stop(state);
    damage();
    const again = start();
    expect(again.endpoints()).toEqual([]);
    await again.putEndpoint(endpoint('new'));
    // Nothing is kept of an empty file: LMDB itself begins anew there.
    const kept = readdirSync(directory).filter((name) => name.includes('.bad-'));
    expect(kept).toEqual(what === 'is empty' && again.setAside === undefined ? [] : ['state.lmdb.bad-1']);
    expect(readdirSync(directory)).not.toContain('state.opening');
  });

  it('is read by another process first if the last start died while it opened it, and kept if it is well', async () => {
    const state = start();
    await state.putEndpoint(endpoint('a'));
    await stop(state);
    writeFileSync(join(directory, 'state.opening'), '');
    const again = start();
    expect(again.setAside).toBeUndefined();
    expect(again.endpoints().map(({ id }) => id)).toEqual(['a']);
    await stop(again);
    expect(await probed()).toBe(true);
  });

  it('is read by this process alone if there is no sign of damage: a process more is a tenth of a second', async () => {
    for (let time = 0; time < 3; time++) {
      const state = start();
      await state.putEndpoint(endpoint(`e${time}`));
      await stop(state);
    }
    expect(await probed()).toBe(false);
  });

  /** Whether the reader of its own, which leaves its count there, has been at the database. */
  async function probed(): Promise<boolean> {
    const database = open<unknown, string>({ path: path(), encoding: 'json', maxReaders: 16 });
    const count = database.get('identity/probed');
    await database.close();
    return count !== undefined;
  }
});

it('a database of a newer vtepd is refused by name and stays as it is', async () => {
  const database = open<unknown, string>({ path: join(directory, 'state.lmdb'), encoding: 'json', maxReaders: 16 });
  database.transactionSync(() => {
    database.put('identity/format', 2);
    database.put('endpoint/a', endpoint('a'));
  });
  await database.close();
  expect(() => new LocalState(directory)).toThrowError(
    expect.objectContaining({
      code: 'VTEP_ERR_STATE',
      message: expect.stringMatching(/format 2.*reads 1.*newer vtepd/),
    }),
  );
  expect(readdirSync(directory).filter((name) => name.includes('.bad-'))).toEqual([]);
});

it('a full disk is an error of the one write; what was there stays, and it goes on when there is room', async () => {
  execaSync('mount', ['-t', 'tmpfs', '-o', 'size=512k', 'tmpfs', directory]);
  ends.push(() => void execaSync('umount', ['-l', directory]));
  const state = start();
  await state.putEndpoint(endpoint('a'));
  writeFileSync(join(directory, 'ballast'), Buffer.alloc(300_000));
  let failure: unknown;
  let count = 0;
  for (; count < 1000 && failure === undefined; count++) {
    await state.putEndpoint(endpoint(`big-${count}`, { name: 'x'.repeat(4000) })).catch((error: unknown) => {
      failure = error;
    });
  }
  expect(failure).toMatchObject({
    code: 'VTEP_ERR_STATE',
    message: expect.stringContaining(`${directory} cannot be written`),
  });
  state.saveSnapshot('nodes/', [{ key: 'nodes/x', value: 'x'.repeat(8000), createIndex: 1, modifyIndex: 2 }]);
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(state.snapshot('nodes/')).toHaveLength(1);
  expect(state.endpoints().length).toBe(count);
  rmSync(join(directory, 'ballast'));
  await state.putEndpoint(endpoint('after'));
  expect(state.endpoints().map(({ id }) => id)).toContain('after');
});
