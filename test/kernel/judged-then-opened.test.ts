/** Between the judging of a pod and the opening of its interface the world goes on. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { LinkWatch } from '../../lib/controller/link-watch.ts';
import type { LocalPod, NodeState } from '../../lib/gate/node-state.ts';
import { NetlinkSocket } from '../../lib/kernel/netlink.ts';
import { inNetns } from '../../lib/kernel/netns.ts';
import { findLink, tagLink } from '../../lib/pod/links.ts';
import { quarantine } from '../../lib/tag/tag.ts';
import { makeNetns } from '../support/netns.ts';
import { scratchFolder } from '../support/scratch.ts';
import { PATIENCE } from '../support/until.ts';

const netns = makeNetns();
after(() => netns[Symbol.dispose]());

interface Outcome {
  readonly group: number;
  readonly tag: number;
  readonly role: string;
}

test('a pod whose labels change while it is plugged in is opened with the tag that it has by then', () => {
  const script = fileURLToPath(new URL('../support/relabelled-in-add.ts', import.meta.url));
  const node = [process.execPath, '--disable-warning=ExperimentalWarning'];
  const inside = ['netns', 'exec', netns.name, ...node, script, scratchFolder()];
  const said = execFileSync('ip', inside, { encoding: 'utf8', timeout: PATIENCE });
  const { stays, slow, queued, early } = JSON.parse(said) as Record<string, Outcome>;
  for (const { group, tag } of [stays!, slow!, queued!, early!]) assert.equal(group, tag);
  assert.deepEqual([stays!.role, slow!.role, queued!.role, early!.role], ['web', 'db', 'db', 'db']);
  assert.notEqual(slow!.tag, stays!.tag);
  assert.equal(queued!.tag, slow!.tag);
});

test('the agent leaves an interface alone that an ADD has yet to open, and keeps its tag from then on', () => {
  using route = inNetns(netns, () => NetlinkSocket.open('route'));
  netns.exec('ip', ['link', 'add', 'tgpod', 'type', 'veth', 'peer', 'name', 'inner']);
  const { ifindex } = findLink(route.exchange, { name: 'tgpod' })!;
  const group = () => findLink(route.exchange, { ifindex })!.group;
  tagLink(route.exchange, ifindex, quarantine);
  const tag = quarantine + 1;
  const state = { pods: { key: { link: 'tgpod', tag } as LocalPod } } as unknown as NodeState;
  const opening = new Set(['key']);
  const keeper = new LinkWatch({ state }, route.exchange, opening, () => undefined);
  assert.deepEqual([keeper.mend(), group()], [0, quarantine]);
  opening.delete('key');
  assert.deepEqual([keeper.mend(), group()], [1, tag]);
});
