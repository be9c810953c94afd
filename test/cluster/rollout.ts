/** The agents are exchanged on all nodes, one after the other, while pods start. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, suite, test } from 'node:test';
import { until } from '../support/until.ts';
import { agentManifests } from './agent-manifests.ts';
import { isTrue, type KubeObject, type Pod } from './api.ts';
import { type KubeCluster, namespaceOf } from './cluster.ts';

const namespace = 'rollout';
const COUNT = 100;

interface DaemonSet extends KubeObject {
  readonly spec: { readonly template: KubeObject };
}
interface Event extends KubeObject {
  readonly reason: string;
  readonly message: string;
}

/** What `kubectl rollout restart` does. */
function restarted(at: string): DaemonSet {
  const daemonSet = agentManifests().find(({ kind }) => kind === 'DaemonSet') as DaemonSet;
  const { spec, ...object } = daemonSet;
  const metadata = { ...spec.template.metadata, annotations: { 'kubectl.kubernetes.io/restartedAt': at } };
  return { ...object, spec: { ...spec, template: { ...spec.template, metadata } } } as unknown as DaemonSet;
}

export function rollout(cluster: () => KubeCluster): void {
  suite(`the agents are exchanged while ${COUNT} pods start`, () => {
    before(async () => void (await cluster().api.apply(namespaceOf(namespace))));
    after(async () => await cluster().deleteNamespace(namespace));

    const agents = async (): Promise<readonly Pod[]> => {
      const pods = await cluster().api.list<Pod>('/api/v1/namespaces/kube-system/pods');
      return pods.filter(({ metadata }) => metadata.labels?.['app.kubernetes.io/name'] === 'tollgate');
    };
    /** On the nodes that have an agent. */
    const isExchanged = async (old: ReadonlySet<string | undefined>): Promise<boolean> => {
      const now = await agents();
      const ready = now.filter(({ metadata, status }) => !old.has(metadata.uid) && isTrue(status.conditions, 'Ready'));
      return ready.length === old.size && now.every(({ metadata }) => !old.has(metadata.uid));
    };

    test('no sandbox fails, and every pod gets ready', async t => {
      const { api } = cluster();
      const uids = new Set((await agents()).map(({ metadata }) => metadata.uid));
      const started = performance.now();
      const seconds = () => ((performance.now() - started) / 1000).toFixed(1);
      let exchanged = '';
      const exchange = async () => {
        await api.apply(restarted(new Date().toISOString()));
        await until('all agents to be others', async () => await isExchanged(uids), 600_000);
        exchanged = seconds();
      };
      const nodes = ['node1', 'node2'];
      const pods = Array.from({ length: COUNT }, (_, i) => ({ namespace, name: `pod-${i}`, node: nodes[i % 2]! }));
      await Promise.all([exchange(), cluster().runAll(pods, 600_000)]);
      t.diagnostic(
        `${COUNT} pods Ready after ${seconds()} s, agents of ${uids.size} nodes exchanged after ${exchanged} s`,
      );
      const events = await api.list<Event>(`/api/v1/namespaces/${namespace}/events`);
      assert.ok(events.length > 0, 'kubelet tells of what it does');
      const failed = events.filter(({ reason }) => reason === 'FailedCreatePodSandBox');
      assert.deepEqual(
        failed.map(({ message }) => message),
        [],
      );
    });

    test('the runtime has found the network configuration whole each time that the agent wrote it', t => {
      for (const { name, runtime } of cluster().nodes.values()) {
        const lines = readFileSync(runtime.log, 'utf8').split('\n');
        const complaints = lines.filter(line => line.includes('failed to reload cni configuration'));
        t.diagnostic(`${name}: ${lines.length} lines of ${runtime.name}, ${complaints.length} of them such`);
        assert.deepEqual(complaints, []);
      }
    });
  });
}
