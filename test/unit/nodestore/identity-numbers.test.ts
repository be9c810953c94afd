/** Numbers of identities go round, and the node's record says no more of identities that are gone. */
import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  emptyNode,
  identityOf,
  joined,
  type LocalPod,
  type NodeState,
  podKey,
  TagsExhausted,
  withoutPod,
  withPod,
} from '../../../lib/gate/node-state.ts';
import { DiskNodeStore } from '../../../lib/nodestore/disk-store.ts';
import { identityKey } from '../../../lib/tag/identity.ts';
import { firstIdentity, lastIdentity } from '../../../lib/tag/tag.ts';
import { untaggedPod } from '../../support/local-pod.ts';
import { scratchFolder } from '../../support/scratch.ts';
import { valueIn } from '../../support/sealed.ts';

const owner = { enforcer: 'inline', stateDir: '/state', policies: '/policies' };
const empty = emptyNode(owner, { judge: 'inline', nflogGroup: 1, enforceEgressToNode: false });
const all = lastIdentity - firstIdentity + 1;
const none = () => false;

const pod = (name: string): Omit<LocalPod, 'tag'> =>
  untaggedPod(name, { labels: { name }, given: { config: {}, call: { name } } });

const stay = ['a', 'b', 'c'];
const inhabited = (): NodeState => stay.reduce((state, name) => withPod(state, pod(name), none).state, empty);
const goneAgain = (state: NodeState, name: string): NodeState => withoutPod(state, podKey(pod(name)));

/** Identities that come and go one after the other, each with its number. */
function* churn(start: NodeState, count: number, isCarried: (tag: number) => boolean) {
  let state = start;
  for (let i = 0; i < count; i++) {
    const plugged = withPod(state, pod(`churn${i}`), isCarried);
    state = goneAgain(plugged.state, `churn${i}`);
    yield { tag: plugged.pod.tag, state };
  }
}

test('a freed number comes back once all others had their turn, and never while an identity has it or a link carries it', () => {
  const carried = new Set([firstIdentity + 7, firstIdentity + 4_711, lastIdentity]);
  const start = inhabited();
  const taken = new Set([...Object.values(start.tags), ...carried]);
  assert.equal(taken.size, stay.length + carried.size);
  const last = new Map<number, number>();
  let turn = 0;
  for (const { tag } of churn(start, all + 5_000, tag => carried.has(tag))) {
    assert.ok(!taken.has(tag), `${tag} was given away`);
    assert.ok(tag >= firstIdentity && tag <= lastIdentity, `${tag}`);
    const since = turn - (last.get(tag) ?? Number.NEGATIVE_INFINITY);
    assert.ok(since >= all - taken.size, `${tag} came back after ${since} others`);
    last.set(tag, turn++);
  }
  assert.equal(last.size, all - taken.size);
});

test('the last free number is found, wherever the search begins, and none is given away twice', () => {
  const { [firstIdentity + 9]: _, ...others } = Object.fromEntries(
    Array.from({ length: all }, (_each, i) => [firstIdentity + i, `identity ${i}`]),
  );
  const tags = Object.fromEntries(Object.entries(others).map(([tag, key]) => [key, Number(tag)]));
  for (const next of [firstIdentity, firstIdentity + 9, firstIdentity + 10, lastIdentity, lastIdentity + 1]) {
    const { state, pod: last } = withPod({ ...empty, tags, next }, pod('last'), none);
    assert.equal(last.tag, firstIdentity + 9);
    assert.throws(() => withPod(state, pod('more'), none), TagsExhausted);
    assert.throws(() => withPod({ ...empty, tags, next }, pod('last'), tag => tag === last.tag), TagsExhausted);
  }
});

test('pods that a lost state did not know of keep their numbers, and the search goes on behind the highest of them', () => {
  const found = Object.fromEntries(
    [5, 900, 30].map(number => {
      const each = { ...pod(`found${number}`), tag: firstIdentity + number };
      return [podKey(each), each];
    }),
  );
  const { state, pod: next } = withPod(joined(empty, found, none), pod('next'), none);
  assert.equal(next.tag, firstIdentity + 901);
  for (const each of Object.values(found)) assert.equal(state.tags[identityKey(identityOf(each))], each.tag);
  // A state that was not lost knows best: behind a high number may be those that were freed last.
  const wrapped = { ...inhabited(), next: firstIdentity + 50 };
  assert.equal(withPod(joined(wrapped, found, none), pod('next'), none).pod.tag, firstIdentity + 50);
});

class Room implements Disposable {
  readonly runDir = scratchFolder('tags');
  readonly head = join(this.runDir, '1.node');
  readonly files = new DiskNodeStore(this.runDir, { dev: 1, ino: 1 });

  /** @returns what stands in the node's record then */
  write(state: NodeState): string {
    this.files.write({ marker: 7, folder: '[]', state });
    return readFileSync(this.head, 'utf8');
  }

  [Symbol.dispose](): void {
    rmSync(this.runDir, { recursive: true });
  }
}

test('the record of a node does not grow with the identities that it ever had', () => {
  using room = new Room();
  const start = inhabited();
  const { length } = room.write(start);
  for (const { state } of churn(start, 3_000, none)) if (state.next % 500 === 0) room.write(state);
  const end = [...churn(start, 3_000, none)].at(-1)!.state;
  const grown = room.write(end).length - length;
  // The roster's extent is a longer number.
  assert.ok(grown < 20, `by ${grown} characters`);
});

test('a record that an earlier release wrote, without a checksum, is read, and written with one', () => {
  using room = new Room();
  const start = inhabited();
  const earlier = JSON.stringify(valueIn(room.write(start)));
  writeFileSync(room.head, earlier);
  const files = new DiskNodeStore(room.runDir, { dev: 1, ino: 1 });
  const record = files.read()!;
  assert.deepEqual(record.state, start);
  files.write(record);
  assert.match(readFileSync(room.head, 'utf8'), /^[0-9a-f]{8} \{/);
});
