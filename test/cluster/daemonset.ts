/** The agent as it is shipped for clusters: the manifests of `tollgate install --kubernetes`, on a node that has nothing else. */
import assert from 'node:assert/strict';
import { lstatSync } from 'node:fs';
import { before, suite, test } from 'node:test';
import { until } from '../support/until.ts';
import { agentManifests } from './agent-manifests.ts';
import { isTrue, type KubeObject, type Pod } from './api.ts';
import { defaultDeny, type KubeCluster, namespaceOf, policyOf } from './cluster.ts';
import type { KubeNode } from './node.ts';
import { ANSWER, type AskFlow, settle, verdictsAre } from './patience.ts';
import { release } from './release.ts';

interface DaemonSet extends KubeObject {
  readonly spec: { readonly template: { readonly spec: PodSpec } & Readonly<Record<string, unknown>> };
}
interface PodSpec extends Readonly<Record<string, unknown>> {
  readonly volumes: readonly object[];
  readonly containers: readonly ({ readonly volumeMounts: readonly object[] } & Readonly<Record<string, unknown>>)[];
}

/** On this node alone, with what the API server's ServiceAccount admission would add: the account's token, mounted. */
function placed(daemonSet: KubeObject, node: string, token: string): KubeObject {
  const { spec, ...object } = daemonSet as DaemonSet;
  const { template } = spec;
  const { volumes, containers, ...others } = template.spec;
  const mount = { name: 'token', mountPath: '/var/run/secrets/kubernetes.io/serviceaccount', readOnly: true };
  const podSpec = {
    ...others,
    nodeSelector: { 'kubernetes.io/hostname': node },
    volumes: [...volumes, { name: 'token', secret: { secretName: token } }],
    containers: containers.map(each => ({ ...each, volumeMounts: [...each.volumeMounts, mount] })),
  };
  return { ...object, spec: { ...spec, template: { ...template, spec: podSpec } } };
}

interface Account extends KubeObject {
  readonly secrets?: readonly { readonly name: string }[];
}

export function daemonSet(cluster: () => KubeCluster): void {
  suite('the DaemonSet', () => {
    let node: KubeNode;
    const pods = new Map<string, Pod>();
    const reaches: AskFlow = (from, patience) => cluster().reaches(pods.get(from)!, pods.get('web')!, { patience });
    const verdicts = { client: true, stranger: false } as const;
    const agents = async (): Promise<readonly Pod[]> => {
      const all = await cluster().api.list<Pod>('/api/v1/namespaces/kube-system/pods');
      const isIt = ({ metadata, spec }: Pod) =>
        spec.nodeName === node.name && metadata.labels?.['app.kubernetes.io/name'] === 'tollgate';
      return all.filter(isIt);
    };
    const readyAgent = async (but?: string): Promise<Pod | undefined> =>
      (await agents()).find(
        ({ metadata, status }) =>
          metadata.uid !== but && isTrue(status.conditions, 'Ready') && status.phase === 'Running',
      );

    /** Where the cluster has no agent of the kind yet, with what the API server's admission would add. */
    async function install(): Promise<void> {
      const { api } = cluster();
      const objects = agentManifests();
      for (const object of objects.filter(({ kind }) => kind !== 'DaemonSet')) await api.apply(object);
      const account = '/api/v1/namespaces/kube-system/serviceaccounts/tollgate';
      const token = await until(
        'the account to get a token',
        async () => (await api.get<Account>(account))?.secrets?.[0]?.name,
      );
      await api.apply(placed(objects.find(({ kind }) => kind === 'DaemonSet')!, 'node3', token));
      node = await cluster().addNode('pod');
    }

    before(async () => {
      if (release.agent === 'pod') node = cluster().nodes.get('node2')!;
      else await install();
    });

    test('installs the plugin, makes the node ready and is ready itself, with the rights that it is shipped with', async () => {
      await node.isReady();
      await until("the agent's pod to be Ready", () => readyAgent());
      for (const name of ['tollgate', 'tollgate-ipam'])
        assert.ok(lstatSync(node.host.path(`/run/cni/bin/${name}`)).size < 100_000, `${name} is the launcher`);
    });

    test('pods are plugged in and gated by it', async () => {
      const { api } = cluster();
      await api.apply(namespaceOf('daemon'));
      await api.apply(defaultDeny('daemon', ['Ingress']));
      const from = [{ podSelector: { matchLabels: { app: 'client' } } }];
      await api.apply(
        policyOf('daemon', 'clients', { podSelector: { matchLabels: { app: 'web' } }, ingress: [{ from }] }),
      );
      const all = ['web', 'client', 'stranger'].map(app => ({
        ...{ namespace: 'daemon', name: app, labels: { app }, node: node.name },
      }));
      for (const pod of await cluster().runAll(all)) pods.set(pod.metadata.name, pod);
      await settle(verdicts, reaches);
      assert.equal(await node.answers(pods.get('web')!, ANSWER), true);
    });

    test('its pod is deleted and comes again: gates stay, and the next pod is plugged in', async () => {
      const { api } = cluster();
      const [old] = await agents();
      await api.delete(old!);
      await verdictsAre(verdicts, reaches);
      await until('another to be Ready', () => readyAgent(old!.metadata.uid));
      await verdictsAre(verdicts, reaches);
      const late = await cluster().run({
        namespace: 'daemon',
        name: 'late',
        labels: { app: 'client' },
        node: node.name,
      });
      pods.set('late', late);
      await settle({ late: true }, reaches);
    });
  });
}
