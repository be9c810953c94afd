/** Pods that start: when they can be reached, how long a hundred take, and what leaves a denied one before it is gated. */
import { execFileSync } from 'node:child_process';
import { isTrue, type Pod } from '../../cluster/api.ts';
import { defaultDeny, type KubeCluster, podOf, policyOf } from '../../cluster/cluster.ts';
import { Knocking } from '../../cluster/traffic.ts';
import { until } from '../../support/until.ts';
import type { Contender } from './contenders.ts';
import { openSpace, spaceOf } from './spaces.ts';

const now = (): number => performance.timeOrigin + performance.now();

/**
 * Milliseconds from the write of a pod to the API to its first answer to a pod that a policy lets in, start after start.
 * @see https://github.com/kubernetes/perf-tests/tree/master/network/benchmarks, network-policy-enforcement-latency
 */
export async function reachability(cluster: KubeCluster, contender: Contender, starts: number): Promise<number[]> {
  const namespace = spaceOf(contender, 'reach');
  const node = contender.node.name;
  const { api } = cluster;
  await openSpace(cluster, namespace);
  const client = await cluster.run({ namespace, name: 'client', labels: { app: 'client' }, node });
  const from = [{ podSelector: { matchLabels: { app: 'client' } } }];
  await api.apply(
    policyOf(namespace, 'some', { podSelector: { matchLabels: { app: 'server' } }, ingress: [{ from }] }),
  );
  const found: number[] = [];
  for (let start = 0; start < starts; start++) {
    const object = podOf({ namespace, name: `server-${start}`, labels: { app: 'server' }, node });
    const written = now();
    await api.apply(object);
    const path = `/api/v1/namespaces/${namespace}/pods/server-${start}`;
    const pod = await until('the pod to have an address', async () => {
      const seen = await api.get<Pod>(path);
      return seen?.status.podIP ? seen : undefined;
    });
    using knocking = new Knocking(cluster, client, pod, { interval: 10, patience: 1000 });
    const answered = await until('an answer', () => knocking.knocks().find(({ isEchoed }) => isEchoed)?.sent);
    found.push(answered - written);
    await knocking.end();
    await api.delete(object, 0);
  }
  await cluster.deleteNamespace(namespace);
  return found;
}

/** A sink's own notes of who has sent it how much, made before anything else there sees it. */
class Sink {
  readonly #netns: string;

  constructor(cluster: KubeCluster, pod: Pod) {
    this.#netns = cluster.netnsPath(pod);
    this.#nft(`add table ip sink; delete table ip sink; table ip sink {
      set seen { type ipv4_addr; flags dynamic; size 65535; }
      counter arrived { }
      chain note { type filter hook prerouting priority -450; udp dport 9 add @seen { ip saddr } counter name arrived; }
    }`);
  }

  #nft(...command: readonly string[]): string {
    return execFileSync('nsenter', [`--net=${this.#netns}`, 'nft', '-j', ...command], { encoding: 'utf8' });
  }

  /** Pods of which anything came, and packets, since it was asked last. */
  take(): { readonly pods: number; readonly packets: number } {
    const answer = JSON.parse(this.#nft('list table ip sink')) as {
      nftables: readonly { set?: { elem?: readonly string[] }; counter?: { packets: number } }[];
    };
    const pods = answer.nftables.flatMap(({ set }) => set?.elem ?? []).length;
    const packets = answer.nftables.reduce((sum, { counter }) => sum + (counter?.packets ?? 0), 0);
    this.#nft('flush set ip sink seen; reset counters table ip sink');
    return { pods, packets };
  }
}

export interface Burst {
  /** Milliseconds from the first write until all were Ready. */
  readonly ready: number;
  /** Pods that nothing may leave, of which something came. */
  readonly leaked: number;
  readonly packets: number;
}

/** So many pods at once that send from their first instruction, in a namespace that has always denied it. */
export async function burst(cluster: KubeCluster, contender: Contender, count: number): Promise<Burst> {
  const namespace = spaceOf(contender, 'burst');
  const outside = spaceOf(contender, 'sink');
  const node = contender.node.name;
  for (const name of [namespace, outside]) await openSpace(cluster, name);
  const target = await cluster.run({ namespace: outside, name: 'sink', node });
  const sink = new Sink(cluster, target);
  await cluster.api.apply(defaultDeny(namespace));
  const words = ['greet', target.status.podIP!, '9', '400'];
  const objects = Array.from({ length: count }, (_, i) => podOf({ namespace, name: `greeter-${i}`, words, node }));
  const started = performance.now();
  await Promise.all(objects.map(async object => await cluster.api.apply(object)));
  const ready = await until(
    'all pods to be Ready',
    async () => {
      const pods = await cluster.api.list<Pod>(`/api/v1/namespaces/${namespace}/pods`);
      return pods.filter(({ status }) => isTrue(status.conditions, 'Ready')).length === count
        ? performance.now() - started
        : undefined;
    },
    600_000,
  );
  const { pods, packets } = sink.take();
  for (const name of [namespace, outside]) await cluster.deleteNamespace(name);
  return { ready, leaked: pods, packets };
}
