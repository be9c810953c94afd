/** What goes into force together, and what fails alone. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { GroupCommit, type Request } from '../../../lib/enforce/group-commit.ts';

interface Asked extends Request<Asked, string> {
  readonly name: string;
  readonly kind: string;
}

/** A lock that one holds at a time, and what was done under it. */
class Lock {
  readonly commits: string[] = [];
  readonly refused = new Set<string>();
  /** Those whose timeout passes before the lock is free. */
  readonly late = new Set<string>();
  isHeld = false;
  free: () => void = () => {};
  #freed: Promise<void> = Promise.resolve();

  /** Another process takes the lock. */
  take(): void {
    const { promise, resolve } = Promise.withResolvers<void>();
    [this.#freed, this.free] = [promise, resolve];
  }

  request(name: string, { kind = 'pod', signal }: { kind?: string; signal?: AbortSignal } = {}): Asked {
    return {
      ...{ name, kind, signal },
      lock: async () => {
        if (this.late.has(name)) throw new Error(`${name} waited too long`);
        await this.#freed;
        assert.ok(!this.isHeld, 'the lock is held once');
        this.isHeld = true;
        return {
          [Symbol.dispose]: () => {
            this.isHeld = false;
          },
        };
      },
      goesWith: other => other.kind === kind,
      commit: async all => {
        assert.ok(this.isHeld);
        const names = all.map(each => each.name);
        this.commits.push(names.join('+'));
        const refused = names.find(each => this.refused.has(each));
        if (refused) throw new Error(`${refused} is refused`);
        return names.map(each => `${each} is in force`);
      },
    };
  }
}

const settled = async (work: readonly Promise<string>[]): Promise<string[]> =>
  (await Promise.allSettled(work)).map(one => (one.status === 'fulfilled' ? one.value : one.reason.message));
const inForce = (...names: readonly string[]): string[] => names.map(name => `${name} is in force`);
const others = (): boolean => true;

test('requests of one moment go into force together, in the order of their arrival', async () => {
  const lock = new Lock();
  const group = new GroupCommit<Asked, string>(others);
  assert.deepEqual(await settled(['a', 'b', 'c'].map(name => group.join(lock.request(name)))), inForce('a', 'b', 'c'));
  assert.deepEqual(lock.commits, ['a+b+c']);
});

test('a request that comes with the next turn of the event loop goes along', async () => {
  const lock = new Lock();
  const group = new GroupCommit<Asked, string>(others);
  const turn = setImmediate();
  const first = group.join(lock.request('a'));
  await turn;
  assert.deepEqual(await settled([first, group.join(lock.request('b'))]), inForce('a', 'b'));
  assert.deepEqual(lock.commits, ['a+b']);
});

test('where no other call is under way, a request waits for no turn of the event loop', async () => {
  const lock = new Lock();
  const group = new GroupCommit<Asked, string>(() => false);
  const turn = setImmediate('a turn has passed');
  assert.equal(await Promise.race([group.join(lock.request('a')), turn]), 'a is in force');
  await turn;
});

test('requests that come while another process holds the lock go with the first that waits for it', async () => {
  const lock = new Lock();
  lock.take();
  const group = new GroupCommit<Asked, string>(() => false);
  const work = [group.join(lock.request('a'))];
  await setImmediate();
  work.push(group.join(lock.request('b')), group.join(lock.request('c')));
  lock.free();
  assert.deepEqual(await settled(work), inForce('a', 'b', 'c'));
  assert.deepEqual(lock.commits, ['a+b+c']);
});

test('a request that cannot be put into force fails alone: each of its group is then tried by itself', async () => {
  const lock = new Lock();
  lock.refused.add('b');
  const group = new GroupCommit<Asked, string>(others);
  assert.deepEqual(await settled(['a', 'b', 'c'].map(name => group.join(lock.request(name)))), [
    'a is in force',
    'b is refused',
    'c is in force',
  ]);
  assert.deepEqual(lock.commits, ['a+b+c', 'a', 'b', 'c']);
  assert.equal(lock.isHeld, false);
});

test('requests of another kind are the next group, and wait no longer than that', async () => {
  const lock = new Lock();
  const group = new GroupCommit<Asked, string>(others);
  const wanted = [lock.request('a'), lock.request('x', { kind: 'other' }), lock.request('b')];
  assert.deepEqual(await settled(wanted.map(one => group.join(one))), inForce('a', 'x', 'b'));
  assert.deepEqual(lock.commits, ['a+b', 'x']);
});

test('a caller that hangs up while it waits leaves the queue, also as the first; the others go on', async () => {
  for (const gone of ['a', 'b']) {
    const lock = new Lock();
    lock.take();
    const group = new GroupCommit<Asked, string>(others);
    const hangUp = new AbortController();
    const work = ['a', 'b'].map(name => group.join(lock.request(name, name === gone ? { signal: hangUp.signal } : {})));
    hangUp.abort(new Error(`${gone} hung up`));
    lock.free();
    const [a, b] = await settled(work);
    assert.equal(gone === 'a' ? a : b, `${gone} hung up`);
    assert.equal(gone === 'a' ? b : a, gone === 'a' ? 'b is in force' : 'a is in force');
    assert.equal(lock.commits.join(), gone === 'a' ? 'b' : 'a');
    await assert.rejects(group.join(lock.request('late', { signal: hangUp.signal })), /hung up/);
  }
});

test('a timeout for the lock is that of one request: the next waits for its own', async () => {
  const lock = new Lock();
  lock.late.add('a');
  const group = new GroupCommit<Asked, string>(others);
  assert.deepEqual(await settled(['a', 'b', 'c'].map(name => group.join(lock.request(name)))), [
    'a waited too long',
    'b is in force',
    'c is in force',
  ]);
  assert.deepEqual(lock.commits, ['b+c']);
});
