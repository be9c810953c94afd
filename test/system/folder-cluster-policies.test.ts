/**
 * Cluster policies out of the policies folder, on a node without Kubernetes: by the executable, a real kernel and real packets.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { denialsAreHeard } from '../support/agent-process.ts';
import type { Json } from '../support/cni.ts';
import { PolicyHost, policy, words } from '../support/policy-host.ts';

const subject = { pods: { namespaceSelector: {}, podSelector: { matchLabels: { role: 'web' } } } };

/** What pods of namespace default meet at pods of role web. */
const cluster = (name: string, action: string, priority: number, tier = 'Admin'): Json => ({
  ...{ apiVersion: 'policy.networking.k8s.io/v1alpha2', kind: 'ClusterNetworkPolicy', metadata: { name } },
  spec: {
    ...{ tier, priority, subject },
    ingress: [{ action, from: [{ namespaces: { matchLabels: { 'kubernetes.io/metadata.name': 'default' } } }] }],
  },
});

const openToAll = policy('open', { podSelector: {}, ingress: [{}] });

test('tiers are in force for pods that are there and for those that come, of identities new and known', async () => {
  using host = await PolicyHost.start();
  host.put('deny.yaml', cluster('deny', 'Deny', 50));
  // The first pod that a cluster policy selects gives the table its tiers.
  using other = await host.plug('other');
  using web = await host.plug('web', { labels: { role: 'web' } });
  using again = await host.plug('again', { labels: { role: 'web' } });
  using late = await host.plug('late', { labels: { role: 'none' } });
  for (const each of [web, again]) assert.equal(host.reaches(other, each), false);
  assert.equal(host.reaches(late, web), false);
  assert.equal(host.reaches(web, late), true);
  assert.equal((await host.type(['verify'])).exit, 0, 'the table is what it should be');
  host.put('open.yaml', openToAll, cluster('accept', 'Accept', 40));
  await host.apply();
  for (const from of [other, late]) assert.equal(host.reaches(from, again), true, 'an earlier one accepts');
  host.put('open.yaml', openToAll, cluster('accept', 'Accept', 60));
  await host.apply();
  assert.equal(host.reaches(other, web), false, 'what a NetworkPolicy allows comes too late');
  host.put('deny.yaml', cluster('deny', 'Deny', 50, 'Baseline'));
  host.put('open.yaml', openToAll);
  await host.apply();
  assert.equal(host.reaches(other, web), true, 'a NetworkPolicy has decided');
  host.remove('open.yaml');
  await host.apply();
  assert.equal(host.reaches(other, web), false, 'none has');
  await web.unplug();
  await again.unplug();
  assert.equal((await host.type(['verify'])).exit, 0, 'the last pod that they select has gone');
  using back = await host.plug('back', { labels: { role: 'web' } });
  assert.equal(host.reaches(other, back), false);
});

test('policy list counts what each of them denied, by tier', async () => {
  using host = await PolicyHost.start();
  host.put('deny.yaml', cluster('deny', 'Deny', 50));
  using other = await host.plug('other');
  using web = await host.plug('web', { labels: { role: 'web' } });
  assert.equal(host.reaches(other, web), false);
  const listed = await host.type(['policy', 'list', '-o', 'json']);
  const [only] = JSON.parse(listed.stdout) as readonly {
    policy: string;
    tier: string;
    ingress: { denied: { packets: number } };
  }[];
  assert.deepEqual([only?.policy, only?.tier], ['ClusterNetworkPolicy/deny', 'Admin'], words(listed));
  assert.ok(only!.ingress.denied.packets >= 4, 'UDP and TCP, in both families');
});

test('of many rules that deny, list, log and kernel say which one it was', async () => {
  using host = await PolicyHost.start();
  const peer = (n: number) => [{ pods: { namespaceSelector: {}, podSelector: { matchLabels: { app: `n${n}` } } } }];
  const denying = (first: number): Json => ({
    ...{ apiVersion: 'policy.networking.k8s.io/v1alpha2', kind: 'ClusterNetworkPolicy' },
    metadata: { name: `from-${first}` },
    spec: {
      ...{ tier: 'Admin', priority: first, subject },
      ingress: Array.from({ length: 25 }, (_, n) => ({ action: 'Deny', from: peer(first + n) })),
    },
  });
  host.put('many.yaml', denying(0), denying(25));
  using web = await host.plug('web', { labels: { role: 'web' } });
  using early = await host.plug('early', { labels: { app: 'n3' } });
  using late = await host.plug('late', { labels: { app: 'n40' } });
  using other = await host.plug('other');
  assert.equal(host.reaches(other, web), true);
  const watching = host.type(['flows', '--denied', '--seconds', '8', '-o', 'json']);
  await denialsAreHeard(host.host);
  for (const each of [early, late, late]) assert.equal(host.reaches(each, web), false);
  const { stdout } = await watching;
  const lines = stdout.split('\n').filter(line => line !== '');
  const flows = lines.map(line => JSON.parse(line) as { kind: string; from: string; by: string[]; rule: string });
  const told = flows
    .filter(({ kind }) => kind === 'flow')
    .map(({ from, by, rule }) => `${from}: ${by.join()}: ${rule}`);
  assert.deepEqual([...new Set(told)].toSorted(), [
    'default/early: ClusterNetworkPolicy/from-0: Admin ClusterNetworkPolicy/from-0 ingress[3]',
    'default/late: ClusterNetworkPolicy/from-25: Admin ClusterNetworkPolicy/from-25 ingress[15]',
  ]);
  const counts = async () => {
    const listed = await host.type(['policy', 'list', '-o', 'json']);
    const policies = JSON.parse(listed.stdout) as readonly { ingress: { denied: { packets: number } } }[];
    return policies.map(({ ingress }) => ingress.denied.packets);
  };
  const [first, second] = (await counts()) as [number, number];
  assert.ok(first > 0 && second === 2 * first, `${first} and ${second} packets`);
  host.put('one-more.yaml', denying(50));
  await host.apply();
  assert.deepEqual(await counts(), [first, second, 0], 'what others have counted stays');
  assert.equal((await host.type(['verify'])).exit, 0, 'the table is what it should be');
});

test('of policies with the same many rules, list says of each what it denied, and of one that was renamed, too', async () => {
  using host = await PolicyHost.start();
  const denying = (name: string, role: string): Json => ({
    ...{ apiVersion: 'policy.networking.k8s.io/v1alpha2', kind: 'ClusterNetworkPolicy', metadata: { name } },
    spec: {
      ...{ tier: 'Admin', priority: 10 },
      subject: { pods: { namespaceSelector: {}, podSelector: { matchLabels: { role } } } },
      ingress: Array.from({ length: 20 }, (_, n) => {
        return { action: 'Deny', from: [{ namespaces: { matchLabels: { team: `t${n}` } } }] };
      }),
    },
  });
  const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'default', labels: { team: 't3' } } };
  const listed = async () => {
    const found = JSON.parse((await host.type(['policy', 'list', '-o', 'json'])).stdout) as readonly {
      policy: string;
      ingress: { denied: { packets: number } };
    }[];
    return found.map(({ policy, ingress }) => [policy, ingress.denied.packets]);
  };
  host.put('both.yaml', namespace, denying('of-web', 'web'), denying('of-db', 'db'));
  using web = await host.plug('web', { labels: { role: 'web' } });
  using db = await host.plug('db', { labels: { role: 'db' } });
  using other = await host.plug('other');
  for (const each of [web, db, db]) assert.equal(host.reaches(other, each), false);
  assert.deepEqual(await listed(), [
    ['ClusterNetworkPolicy/of-db', 8],
    ['ClusterNetworkPolicy/of-web', 4],
  ]);
  host.put('both.yaml', namespace, denying('renamed', 'web'), denying('of-db', 'db'));
  await host.apply();
  assert.equal(host.reaches(other, web), false);
  assert.deepEqual(await listed(), [
    ['ClusterNetworkPolicy/of-db', 8],
    ['ClusterNetworkPolicy/renamed', 4],
  ]);
  assert.equal((await host.type(['verify'])).exit, 0, 'the table is what it should be');
});
