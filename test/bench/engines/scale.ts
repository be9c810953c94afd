/** A thousand nodes and twenty thousand pods that only the API knows (kwok), and churn among them. */
import { setTimeout as pause } from 'node:timers/promises';
import type { KubeObject } from '../../cluster/api.ts';
import { type KubeCluster, policyOf } from '../../cluster/cluster.ts';
import { adminConfig } from '../../cluster/control.ts';
import { Daemon } from '../../cluster/daemon.ts';
import { until } from '../../support/until.ts';
import type { Contender } from './contenders.ts';
import { type Taken, takenBy } from './costs.ts';
import { eachOf } from './paths.ts';
import { openSpace } from './spaces.ts';

const peers = process.env['TOLLGATE_BENCH_ENGINES']!;
/** Requests to the API at once. */
const WIDTH = 32;
/** Milliseconds in which kwok has told the API of every pod that it runs, on a machine that does much else. */
const SETTLING = 3_600_000;

export interface Scale {
  readonly nodes: number;
  readonly pods: number;
  readonly namespaces: number;
  readonly policies: number;
  /** Pods a second that go and come, and for how many seconds. */
  readonly churn: { readonly rate: number; readonly seconds: number };
}

const nodeOf = (i: number): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name: `kwok-${i}`, labels: { type: 'kwok' } },
  spec: { taints: [{ key: 'kwok.x-k8s.io/node', value: 'fake', effect: 'NoSchedule' }] },
});

function podOf(i: number, { nodes, namespaces }: Scale): KubeObject {
  const labels = { app: `app-${i % 50}`, tier: `tier-${i % 3}` };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: `scale-${i % namespaces}`, name: `pod-${i}`, labels },
    spec: {
      nodeName: `kwok-${i % nodes}`,
      containers: [{ name: 'it', image: 'none' }],
      tolerations: [{ operator: 'Exists' }],
      automountServiceAccountToken: false,
      enableServiceLinks: false,
    },
  };
}

const policyAt = (i: number, { namespaces }: Scale): KubeObject =>
  policyOf(`scale-${i % namespaces}`, `policy-${i}`, {
    podSelector: { matchLabels: { app: `app-${i % 50}` } },
    ingress: [
      {
        from: [
          { podSelector: { matchLabels: { app: `app-${(i + 1) % 50}` } } },
          { namespaceSelector: { matchLabels: { team: `team-${i % 10}` } } },
        ],
        ports: [{ port: 8080 }],
      },
    ],
  });

export interface Weight {
  readonly contender: string;
  /** Once the cluster has stood still for a while. */
  readonly still: Taken;
  /** Over the churn: processor seconds of it, and memory at its end. */
  readonly churned: Taken;
}

/** Whether every pod runs, as the API says; our DaemonSet's never do on the other engines' nodes. */
async function isSettled(cluster: KubeCluster): Promise<boolean> {
  const path = '/api/v1/pods?fieldSelector=status.phase=Pending,metadata.namespace!=kube-system&limit=1';
  return (await cluster.api.list(path)).length === 0;
}

export async function scale(
  cluster: KubeCluster,
  contenders: readonly Contender[],
  size: Scale,
  say: (progress: string) => void,
): Promise<Weight[]> {
  const { api } = cluster;
  const command = [`${peers}/kwok`, `--kubeconfig=${adminConfig}`, '--manage-nodes-with-label-selector=type=kwok'];
  new Daemon({ name: 'kwok', command }).start();
  const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);
  await eachOf(upTo(size.namespaces), WIDTH, i => openSpace(cluster, `scale-${i}`, { team: `team-${i % 10}` }));
  await eachOf(upTo(size.nodes), WIDTH, i => api.apply(nodeOf(i)));
  await eachOf(upTo(size.policies), WIDTH, i => api.apply(policyAt(i, size)));
  await eachOf(upTo(size.pods), WIDTH, i => api.apply(podOf(i, size)));
  say('all is written');
  await until('all pods to run', () => isSettled(cluster).catch(() => false), SETTLING);
  await pause(20_000);
  say('all pods run');
  const engines = contenders.filter(({ isEngine }) => isEngine);
  const still = engines.map(each => takenBy(each)!);
  const end = performance.now() + 1000 * size.churn.seconds;
  for (let i = 0; performance.now() < end; i++) {
    const due = pause(1000 / size.churn.rate);
    const pod = podOf(i % size.pods, size);
    await api.delete(pod, 0);
    await until('the pod to be written again', () => api.apply(pod).catch(() => undefined));
    await due;
  }
  return engines.map((each, i) => {
    const { memory, processor } = takenBy(each)!;
    return { contender: each.name, still: still[i]!, churned: { memory, processor: processor - still[i]!.processor } };
  });
}
