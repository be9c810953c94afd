/** The agent as it is shipped for clusters: the manifests of `tollgate install --kubernetes`, on a node that has nothing else. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { lstatSync } from 'node:fs';
import { before, suite, test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { tollgateDir } from '../cni.ts';
import { until } from '../host.ts';
import { executableImage } from '../image.ts';
import { isTrue, type KubeObject, type Pod } from './api.ts';
import { defaultDeny, type KubeCluster, namespaceOf, policyOf } from './cluster.ts';
import { place } from './control.ts';
import type { KubeNode } from './node.ts';

const executable = `${tollgateDir}/tollgate`;
const image = 'docker.io/library/tollgate:test';

function manifests(): readonly KubeObject[] {
  const folders = ['--bin-dir', '/run/cni/bin', '--conf-dir', '/run/cni/net.d'];
  const args = ['install', '--kubernetes', '--image', image, '--api-server', place, ...folders];
  const text = execFileSync(executable, args, { encoding: 'utf8' });
  return parseAllDocuments(text).map(document => document.toJS() as KubeObject);
}

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
    const reaches = (from: string, patience = 2000) =>
      cluster().reaches(pods.get(from)!, pods.get('web')!, { patience });
    const agents = async (): Promise<readonly Pod[]> => {
      const all = await cluster().api.list<Pod>('/api/v1/namespaces/kube-system/pods');
      return all.filter(({ spec }) => spec.nodeName === node.name);
    };
    const readyAgent = async (but?: string): Promise<Pod | undefined> =>
      (await agents()).find(
        ({ metadata, status }) =>
          metadata.uid !== but && isTrue(status.conditions, 'Ready') && status.phase === 'Running',
      );

    before(async () => {
      node = await cluster().addNode('pod');
      node.host.write('/run/agent.tar', executableImage(image, executable));
      await node.import('/run/agent.tar');
    });

    test('installs the plugin, makes the node ready and is ready itself, with the rights that it is shipped with', async () => {
      const { api } = cluster();
      const objects = manifests();
      for (const object of objects.filter(({ kind }) => kind !== 'DaemonSet')) await api.apply(object);
      const account = '/api/v1/namespaces/kube-system/serviceaccounts/tollgate';
      const token = await until(
        'the account to get a token',
        async () => (await api.get<Account>(account))?.secrets?.[0]?.name,
      );
      await api.apply(placed(objects.find(({ kind }) => kind === 'DaemonSet')!, node.name, token));
      await node.isReady();
      await until("the agent's pod to be Ready", () => readyAgent(), 120_000);
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
      assert.deepEqual([await reaches('client'), await reaches('stranger')], [true, false]);
      assert.equal(await node.answers(pods.get('web')!), true);
    });

    test('its pod is deleted and comes again: gates stay, and the next pod is plugged in', async () => {
      const { api } = cluster();
      const [old] = await agents();
      await api.delete(old!);
      assert.deepEqual([await reaches('client'), await reaches('stranger')], [true, false]);
      await until('another to be Ready', () => readyAgent(old!.metadata.uid), 180_000);
      assert.deepEqual([await reaches('client'), await reaches('stranger')], [true, false]);
      const late = await cluster().run({
        namespace: 'daemon',
        name: 'late',
        labels: { app: 'client' },
        node: node.name,
      });
      pods.set('late', late);
      assert.equal(await reaches('late'), true);
    });
  });
}
