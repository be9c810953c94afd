/** The node's record says what no version of tollgate ever wrote: it counts as if it were not there. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import test, { after, suite } from 'node:test';
import { live } from '../support/cli-host.ts';
import { add, addresses, type Call, config, runDir, silently, startHost, tollgate } from '../support/cni.ts';
import { valueIn } from '../support/sealed.ts';
import { tagged } from '../support/snapshot.ts';

const host = await startHost();
after(() => host[Symbol.dispose]());

const living: Call & { netns: string } = { config: config(), containerID: 'living', netns: await host.pod() };
const [address] = addresses(await add(host, living));
const [link] = await tagged(host);

type Head = Record<string, unknown> & { state: Record<string, unknown>; roster: Record<string, unknown> };

const pathOfHead = (): string => `${runDir}/${readdirSync(host.path(runDir)).find(name => name.endsWith('.node'))}`;

const falsehoods: readonly (readonly [what: string, (head: Head) => unknown])[] = [
  ['null', () => null],
  ['a number', () => 7],
  ['no state', head => ({ ...head, state: null })],
  ...[0, 1.5, 2 ** 32, '7'].map(
    marker => [`the marker ${JSON.stringify(marker)}`, (head: Head) => ({ ...head, marker })] as const,
  ),
  ...[2 ** 40, 4_000_000_000].map(
    since => [`markers since ${since}`, (head: Head) => ({ ...head, marker: 5, since })] as const,
  ),
  ['no owner', head => ({ ...head, state: { ...head.state, owner: null } })],
  ['no settings', head => ({ ...head, state: { ...head.state, settings: null } })],
  ...[0, 2 ** 40, 'x'].map(
    next => [`${next} as the next number`, (head: Head) => ({ ...head, state: { ...head.state, next } })] as const,
  ),
  ['one number for two identities', head => ({ ...head, state: { ...head.state, tags: twice(head.state['tags']) } })],
  ['identities that are none', head => ({ ...head, state: { ...head.state, tags: { '[1]': 0x74670001 } } })],
  ['pods that leave and are none', head => ({ ...head, state: { ...head.state, leaving: [null] } })],
  ['a roster of less than nothing', head => ({ ...head, roster: { ...head.roster, bytes: -1 } })],
  ['a roster of more than there is', head => ({ ...head, roster: { ...head.roster, bytes: 2 ** 50 } })],
  [
    'ways of masquerading that are none',
    head => ({ ...head, counts: { pods: 2, tags: {}, ways: { '{': 3 }, mapped: 0 } }),
  ],
  ['counts that are none', head => ({ ...head, counts: { pods: null, tags: null, ways: null, mapped: null } })],
  ['peers of a marker that is none', head => ({ ...head, peers: 'x' })],
];

function twice(tags: unknown): unknown {
  const [tag] = Object.values(tags as Record<string, number>);
  return { ...(tags as object), '["other",[],[]]': tag };
}

suite('the record says', () => {
  for (const [what, falsify] of falsehoods)
    test(`${what}: pods come and go, GC and verify work, and the living pod stays what it was`, async () => {
      const path = pathOfHead();
      const falsified = () =>
        host.write(path, JSON.stringify(falsify(valueIn(readFileSync(host.path(path), 'utf8')) as Head)));
      falsified();
      const call: Call & { netns: string } = { config: config(), containerID: 'other', netns: await host.pod() };
      const prevResult = await add(host, call);
      assert.ok(await host.pings(addresses(prevResult)[0]!));
      falsified();
      await silently(host, 'DEL', call);
      falsified();
      const kept = [{ containerID: 'living', ifname: 'eth0' }];
      await silently(host, 'GC', { config: config({ 'cni.dev/valid-attachments': kept }) });
      falsified();
      const repaired = await host.run([tollgate, 'verify', '--repair', '-o', 'json', ...live]);
      assert.equal(repaired.exit, 0, repaired.stdout + repaired.stderr);
      assert.deepEqual(await tagged(host), [link]);
      assert.ok(await host.pings(address!));
    });
});
