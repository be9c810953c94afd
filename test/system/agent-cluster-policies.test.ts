/** Cluster policies of the API, by the executable: an API server of the test's own, a real kernel and real packets. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cni, errorOf, type Json } from '../support/cni.ts';
import { refuse, statusOf } from '../support/fake-api.ts';
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

test('the first pod of a namespace that the watch has not told of is judged by the labels that the namespace has', async () => {
  await using host = await KubeHost.startCluster();
  host.api.install(NAME);
  const closed = { namespaces: { matchLabels: { team: 'closed' } } };
  say(host, 'closed', { priority: 1, subject: closed, ingress: [{ action: 'Deny', from: [{ namespaces: {} }] }] });
  using _ = await host.startAgent();
  using other = await host.run({ name: 'other' });
  host.api.silence('namespaces');
  host.namespace('unheard', { team: 'closed' });
  using web = await host.run({ name: 'web', namespace: 'unheard' });
  assert.equal(host.reaches(other, web), false, 'from the first packet on');
  host.namespace('unanswered', { team: 'closed' });
  host.api.next(
    ({ query }) => query['fieldSelector'] === 'metadata.name=unanswered',
    response => refuse(response, statusOf(503, 'ServiceUnavailable')),
  );
  host.declare({ name: 'web', namespace: 'unanswered' });
  const call = host.podCall({ name: 'web', namespace: 'unanswered' }, await host.host.pod());
  const { code, msg } = errorOf(await cni(host.host, 'ADD', call));
  assert.deepEqual([code, msg], [11, 'Cannot judge pod unanswered/web: nothing is known of its namespace']);
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
