/** SIGKILL at any instant: the table is one whole state or the other, and a pod is closed until it is judged. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { diff } from '../../../lib/nft/diff.ts';
import type { Table } from '../../../lib/nft/model.ts';
import { PROTOCOL } from '../../../lib/nft/statements.ts';
import { condemned, deleting, quarantine } from '../../../lib/tag/tag.ts';
import { live } from '../../support/cli-host.ts';
import { type Call, cni, environment, silently, tollgate } from '../../support/cni.ts';
import { EagerPods } from '../../support/eager.ts';
import type { Exit } from '../../support/host.ts';
import { onlyFrom, type PluggedPod, PORT, PolicyHost, pods, policy, words } from '../../support/policy-host.ts';
import { random, seedOf } from '../../support/random.ts';
import { isTag } from '../../support/snapshot.ts';
import { until } from '../../support/until.ts';
import { binaryOf, isAskedAgain, isServed, type Way } from '../../support/way.ts';
import { linksOf } from '../../support/wired-host.ts';

const withoutMarker = (table: Table): Table => ({
  ...table,
  sets: table.sets.map(set => (set.name === 'marker' ? { ...set, elements: [] } : set)),
});

const read = (host: PolicyHost): Table => withoutMarker(host.read()!.table);

/** In everything that the kernel would have to be told. */
const isSame = (one: Table, other: Table): boolean => diff(one, other).operations.length === 0;

/** Packets of tests that have come to the pod, and were sent before this was asked. */
function countAt(host: PolicyHost, { end }: PluggedPod): number {
  host.settle();
  return end.take().filter(({ dport, protocol }) => dport === PORT && protocol !== PROTOCOL.icmp).length;
}

/** The pod's link is closed, or its tag has an entry for each direction; what is in one set is in the others. */
function assertWhole(host: PolicyHost, name: string): void {
  const link = linksOf(host.place).find(
    ({ alias, group }) => isTag(group) && group !== deleting && alias?.includes(`/${name}:`),
  );
  const table = read(host);
  const elements = (set: string) => table.sets.find(each => each.name === set)!.elements;
  const keys = (set: string) => elements(set).map(({ key }) => Number(key[0]));
  assert.deepEqual(keys('egress_by_tag').toSorted(), keys('ingress_by_tag').toSorted());
  assert.equal(elements('self4').length, elements('self6').length);
  assert.ok(
    !link || link.group === quarantine || link.group === condemned || keys('egress_by_tag').includes(link.group),
    `${name} has group ${link?.group.toString(16)}, which no entry knows`,
  );
}

/** What the table still has of a pod. */
const mentionsOf = (table: Table, name: string): readonly (string | undefined)[] =>
  table.sets
    .flatMap(({ elements }) => elements.map(({ comment }) => comment))
    .filter(comment => comment?.split(/[ ,]/).some(word => word === `default/${name}` || word === `turn=${name}`));

/** ADD, killed after so many milliseconds. */
const addFor = (host: PolicyHost, call: Call, killAfter: number): Promise<Exit> =>
  cni(host.host, 'ADD', { ...call, run: { killAfter } });

/**
 * ADD, killed as soon as something is so that the ruleset tells: it stands still while that is looked at, and goes on for a
 * moment only. A ruleset of the same generation is the same.
 */
async function addUntil(host: PolicyHost, call: Call, isSo: () => boolean): Promise<Exit> {
  const start = performance.now();
  const adding = host.host.spawn([binaryOf(host.host)], { env: environment('ADD', call) });
  const ended = once(adding, 'close') as Promise<[Exit['exit'], Exit['signal']]>;
  let stdout = '';
  adding.stdout!.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  adding.stdin!.end(JSON.stringify(call.config));
  try {
    for (let isOver = false, seen: number | undefined; !isOver; ) {
      adding.kill('SIGSTOP');
      const generation = host.nft.generation();
      if (generation !== seen && isSo()) break;
      seen = generation;
      adding.kill('SIGCONT');
      isOver = await Promise.race([ended.then(() => true), delay(1, false)]);
    }
  } finally {
    adding.kill('SIGKILL');
  }
  const [exit, signal] = await ended;
  return { exit, signal, stdout, stderr: '', ms: performance.now() - start };
}

/** Whether the call was killed, or the worker that carried it out: then it is unknown how far the call came. */
const isCutShort = ({ host }: PolicyHost, { exit, signal, stdout }: Exit): boolean =>
  signal !== null || (exit === 1 && isAskedAgain(host, (JSON.parse(stdout) as { code?: number }).code));

export function killedAtAnyInstant(way: Way): void {
  test('ADD, killed 100 times while its pod sends again and again: nothing arrives, and DEL leaves the table as it was', async t => {
    using host = await PolicyHost.start({ way });
    await using eager = new EagerPods();
    const timid = policy('timid', {
      ...pods({ role: 'timid' }),
      policyTypes: ['Egress'],
      egress: [{ to: [pods({ role: 'friend' })] }],
    });
    host.put('policy.yaml', timid, onlyFrom('shy', { role: 'shy' }, { role: 'friend' }));
    using open = await host.plug('open', { labels: { role: 'open' } });
    using shy = await host.plug('shy', { labels: { role: 'shy' } });
    using friend = await host.plug('friend', { labels: { role: 'friend' } });
    const base = read(host);
    const chance = random(seedOf(t));
    const text = (pod: PluggedPod) => Object.values(pod.result.ips!).map(({ address }) => address.split('/')[0]!);
    const callOf = (name: string, role: string, netns: string) =>
      host.callOf(name, netns, { labels: { role, turn: name } });
    const lanes = await host.host.netns(4);
    const timed = lanes.map(async (netns, i) => {
      const start = performance.now();
      await silently(host.host, 'DEL', callOf(`timed${i}`, 'timid', netns));
      await cni(host.host, 'ADD', callOf(`timed${i}`, 'timid', netns));
      const duration = performance.now() - start;
      await silently(host.host, 'DEL', callOf(`timed${i}`, 'timid', netns));
      return duration;
    });
    // What an ADD takes with the others in flight, learnt from those that got through.
    let duration = Math.max(...(await Promise.all(timed))) / 2;
    const killed = { before: 0, after: 0 };
    let next = 0;
    const turns = 100;
    // Through a worker, ADDs are often faster than who kills them: then it takes more of them.
    const isEnough = () => killed.before >= 5 && killed.after >= 5;
    const lane = async (netns: string) => {
      for (let i = next++; i < turns || (i < 5 * turns && !isEnough()); i = next++) {
        const name = `eager${i}`;
        const call = callOf(name, i % 2 === 0 ? 'timid' : 'plain', netns);
        const targets = [...(i % 2 === 0 ? text(open) : []), ...text(shy), ...text(friend)];
        const id = await eager.start({ netns: host.host.path(`/run/netns/${netns}`), targets, port: PORT });
        // Each fourth dies as soon as it is in the table, the others at any instant.
        const isIn = () => mentionsOf(read(host), name).length > 0;
        const outcome = await (i % 4 === 0 ? addUntil(host, call, isIn) : addFor(host, call, chance() * duration));
        if (isCutShort(host, outcome)) killed[i % 4 === 0 || isIn() ? 'after' : 'before']++;
        else {
          assert.equal(outcome.exit, 0, words(outcome));
          assert.ok(isIn());
          duration = (duration + outcome.ms) / 2;
        }
        // What a worker does meanwhile may come between the two looks.
        if (isServed(way))
          await until(`${name} to be whole`, () => {
            try {
              assertWhole(host, name);
              return true;
            } catch {
              return false;
            }
          });
        else assertWhole(host, name);
        await silently(host.host, 'DEL', call);
        await eager.stop(id);
        assert.deepEqual(mentionsOf(read(host), name), [], 'DEL has left something in the table');
      }
    };
    await Promise.all(lanes.map(lane));
    assert.ok(isSame(read(host), base));
    assert.equal(countAt(host, open), 0);
    assert.equal(countAt(host, shy), 0);
    const { before, after } = killed;
    assert.ok(isEnough(), `killed before its batch ${before} times, after it ${after} times`);
    assert.ok(countAt(host, friend) > 0, 'those that were not killed in time reached their friend');
  });

  // No launcher and no worker has a part in these.
  if (way !== 'alone') return;

  test('`policy apply`, killed 100 times: the table is that before or that after, and the next one brings the rest', async t => {
    using host = await PolicyHost.start({ way });
    const chance = random(seedOf(t));
    const role = (name: string) => ({ role: name });
    const states = [
      [onlyFrom('one', role('server'), role('a')), onlyFrom('two', role('a'), role('b'))],
      [
        onlyFrom('one', role('server'), role('b')),
        policy('three', { ...pods(role('b')), policyTypes: ['Egress'], egress: [{ to: [pods(role('server'))] }] }),
        policy('four', { ...pods(role('a')), ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.0/8' } }] }] }),
      ],
    ] as const;
    host.put('policy.yaml', ...states[1]);
    const server = await host.plug('server', { labels: role('server') });
    for (const name of ['a', 'b']) await host.plug(name, { labels: role(name) });
    const start = performance.now();
    const wholes = [];
    for (const state of states) {
      host.put('policy.yaml', ...state);
      await host.apply();
      wholes.push(read(host));
    }
    let duration = (performance.now() - start) / 2;
    let now = 1;
    const found = { before: 0, after: 0 };
    for (let turn = 0; turn < 100; turn++) {
      const next = 1 - now;
      host.put('policy.yaml', ...states[next]!);
      await host.host.run([tollgate, 'policy', 'apply', ...live], { killAfter: chance() * duration });
      const table = read(host);
      const is = wholes.findIndex(whole => isSame(table, whole));
      assert.notEqual(is, -1, `turn ${turn}: neither the one table nor the other`);
      found[is === next ? 'after' : 'before']++;
      // Half of them are to come after the batch, however busy the machine has become.
      duration *= is === next ? 0.9 : 1.1;
      if (turn % 10 === 9) {
        await host.apply();
        assert.ok(isSame(read(host), wholes[next]!), `turn ${turn}: what the folder says is not in force`);
        assert.equal((await host.type(['verify'])).exit, 0);
        now = next;
      } else now = is;
    }
    assert.ok(found.before >= 5 && found.after >= 5, `killed before ${found.before} times, after ${found.after} times`);
    await server.unplug();
  });

  test('`policy apply`, killed as soon as its batch is in force: what it had yet to cut is cut by the next call', async () => {
    using host = await PolicyHost.start({ way });
    const open = onlyFrom('one', { role: 'server' }, { role: 'client' });
    const shut = policy('one', { ...pods({ role: 'server' }), ingress: [] });
    host.put('policy.yaml', open);
    using server = await host.plug('server', { labels: { role: 'server' } });
    using client = await host.plug('client', { labels: { role: 'client' } });
    let missed = 0;
    // As many as it takes to kill one between the two.
    for (let turn = 0; turn < 10 || (missed === 0 && turn < 200); turn++) {
      host.put('policy.yaml', open);
      await host.apply();
      host.forget();
      assert.ok(host.arrives(client.end, host.packet(client.addresses[4], server.addresses[4]), server.end));
      host.put('policy.yaml', shut);
      const generation = host.nft.generation();
      const applying = host.host.spawn([tollgate, 'policy', 'apply', ...live]);
      const ended = once(applying, 'close');
      // The moment is short, and `until` looks too seldom.
      while (host.nft.generation() === generation) {
        assert.equal(applying.exitCode, null, 'it ended without a batch');
        await delay(1);
      }
      applying.kill('SIGKILL');
      await ended;
      if (host.flows().length > 0) missed++;
      // The one says again what is in force already; the other does not look into the folder, so that it may well bring
      // back what was in force when the batch's own record was not written yet.
      if (turn % 2 === 0) await host.apply();
      else await cni(host.host, 'DEL', host.callOf('nobody', 'none'));
      const left = host.flows().length;
      assert.ok(left === 0 || (turn % 2 === 1 && host.reaches(client, server)), `turn ${turn}: ${left} left`);
    }
    assert.ok(missed > 0, 'none was killed before its cut');
  });
}
