/**
 * Cluster policies out of the policies folder, on a node without Kubernetes: by the executable, a real kernel and real packets.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
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
