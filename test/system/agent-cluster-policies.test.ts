/** Cluster policies of the API, by the executable: an API server of the test's own, a real kernel and real packets. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Json } from '../support/cni.ts';
import { KubeHost } from '../support/kube-host.ts';
import type { PluggedPod } from '../support/policy-host.ts';
import { until } from '../support/until.ts';

const NAME = 'clusternetworkpolicies';

const subject = { pods: { namespaceSelector: {}, podSelector: { matchLabels: { role: 'web' } } } };
const fromDefault = (action: string) => ({
  action,
  from: [{ namespaces: { matchLabels: { 'kubernetes.io/metadata.name': 'default' } } }],
});

function say(host: KubeHost, name: string, spec: Json, annotations: Json = {}): void {
  host.api.put(NAME, { metadata: { name, annotations }, spec: { tier: 'Admin', subject, ...spec } });
}

const reaches = (host: KubeHost, from: PluggedPod, to: PluggedPod, wanted: boolean): Promise<unknown> =>
  until(`${from.name} ${wanted ? 'to reach' : 'to be kept from'} ${to.name}`, () => {
    try {
      return host.reaches(from, to) === wanted;
    } catch {
      // In the middle of a change the one probe may be answered so and the next one otherwise.
      return false;
    }
  });

test('cluster policies of the API are in force as they are said, before and after NetworkPolicies', async () => {
  await using host = await KubeHost.startCluster();
  host.api.install(NAME);
  say(host, 'deny', { priority: 50, ingress: [fromDefault('Deny')] });
  using _ = await host.startAgent();
  using web = await host.run({ name: 'web', labels: { role: 'web' } });
  using other = await host.run({ name: 'other' });
  assert.equal(host.reaches(other, web), false, 'from the first packet on');
  host.policy('web', { podSelector: {}, ingress: [{}] });
  say(host, 'accept', { priority: 60, ingress: [fromDefault('Accept')] });
  await reaches(host, other, web, false);
  say(host, 'accept', { priority: 40, ingress: [fromDefault('Accept')] });
  await reaches(host, other, web, true);
  host.policy('web', { podSelector: {}, policyTypes: ['Ingress'] });
  await reaches(host, other, web, true);
  say(host, 'accept', { priority: 40, ingress: [fromDefault('Pass')] });
  await reaches(host, other, web, false);
  host.api.remove('networkpolicies', 'web', 'default');
  await reaches(host, other, web, true);
  say(host, 'last', { tier: 'Baseline', priority: 1, ingress: [fromDefault('Deny')] });
  await reaches(host, other, web, false);
  host.declare({ name: 'web', labels: { role: 'none' } });
  await reaches(host, other, web, true);
  host.declare({ name: 'web', labels: { role: 'web' } });
  await reaches(host, other, web, false);
  host.api.uninstall(NAME);
  await reaches(host, other, web, true);
});

/** Each policy that the command line knows, and whether it is staged. */
async function listed(host: KubeHost): Promise<readonly (readonly [policy: string, isStaged: boolean])[]> {
  const { stdout } = await host.type(['policy', 'list', '-o', 'json']);
  const policies = JSON.parse(stdout) as readonly { policy: string; staged: boolean }[];
  return policies.map(({ policy, staged }) => [policy, staged]);
}

test('one that is staged is not in force, and what the command line judges by has it as staged', async () => {
  await using host = await KubeHost.startCluster();
  host.api.install(NAME);
  const spec = { priority: 50, ingress: [fromDefault('Deny')] };
  say(host, 'deny', spec, { 'tollgate.dev/staged': 'true' });
  using _ = await host.startAgent();
  using web = await host.run({ name: 'web', labels: { role: 'web' } });
  using other = await host.run({ name: 'other' });
  assert.equal(host.reaches(other, web), true);
  assert.deepEqual(await listed(host), [['ClusterNetworkPolicy/deny', true]]);
  say(host, 'deny', spec);
  await reaches(host, other, web, false);
});

test('a NetworkPolicy that is staged is not in force either, until its annotation is gone, and again once it is back', async () => {
  await using host = await KubeHost.startCluster();
  const put = (annotations: Json): void =>
    host.api.put('networkpolicies', {
      metadata: { namespace: 'default', name: 'web', annotations },
      spec: { podSelector: { matchLabels: { role: 'web' } }, policyTypes: ['Ingress'] },
    });
  put({ 'tollgate.dev/staged': 'true' });
  using _ = await host.startAgent();
  using web = await host.run({ name: 'web', labels: { role: 'web' } });
  using other = await host.run({ name: 'other' });
  assert.equal(host.reaches(other, web), true);
  assert.deepEqual(await listed(host), [['NetworkPolicy/default/web', true]]);
  put({});
  await reaches(host, other, web, false);
  put({ 'tollgate.dev/staged': 'true' });
  await reaches(host, other, web, true);
});
