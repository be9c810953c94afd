/** What packets between two pods of a node cost beside so many policies, of which the last lets the client in. */
import { setTimeout as pause } from 'node:timers/promises';
import type { Pod } from '../../cluster/api.ts';
import { type KubeCluster, policyOf } from '../../cluster/cluster.ts';
import { until } from '../../support/until.ts';
import { bothEnds, type PacketTimes } from '../both-ends.ts';
import type { Contender } from './contenders.ts';
import { openSpace } from './spaces.ts';

const namespace = 'paths';
/** What both.c listens at. */
const ports = [{ port: 8080 }];
/** Milliseconds that an engine has to bring policies into force; the next number is tried no more where it took longer. */
const PATIENCE = 300_000;

interface Path {
  readonly contender: Contender;
  readonly client: Pod;
  readonly server: Pod;
  readonly stranger: Pod;
}

export interface Found {
  readonly policies: number;
  readonly contender: string;
  /** Run by run; none where the policies were not in force in time. */
  readonly times: readonly PacketTimes[];
}

const policyTo = (app: string, name: string) =>
  policyOf(namespace, name, {
    podSelector: { matchLabels: { app: 'server' } },
    ingress: [{ from: [{ podSelector: { matchLabels: { app } } }], ports: [...ports, { port: 80 }] }],
  });

async function pathsOf(cluster: KubeCluster, contenders: readonly Contender[]): Promise<Path[]> {
  await openSpace(cluster, namespace);
  return await Promise.all(
    contenders.map(async contender => {
      const node = contender.node.name;
      const of = (app: string) => ({ namespace, name: `${app}-${node}`, labels: { app }, node });
      const [client, server, stranger] = await cluster.runAll(['client', 'server', 'stranger'].map(of));
      return { contender, client: client!, server: server!, stranger: stranger! };
    }),
  );
}

/** The last of so many policies lets the client in, and, where anything judges, none a stranger. */
const isInForce = async (
  cluster: KubeCluster,
  { contender, client, server, stranger }: Path,
  policies: number,
): Promise<boolean> =>
  (await cluster.reaches(client, server, { patience: 500 })) &&
  (policies === 0 || !contender.isEngine || !(await cluster.reaches(stranger, server, { patience: 500 })));

/** At most so many at once. */
export async function eachOf<T>(
  items: readonly T[],
  width: number,
  work: (item: T) => Promise<unknown>,
): Promise<void> {
  const left = [...items];
  await Promise.all(
    Array.from({ length: width }, async () => {
      for (let item = left.pop(); item !== undefined; item = left.pop()) await work(item);
    }),
  );
}

/** @param numbers of policies, ascending @param runs of each measure, in turn */
export async function paths(
  cluster: KubeCluster,
  contenders: readonly Contender[],
  { numbers, runs, say }: { numbers: readonly number[]; runs: number; say: (progress: string) => void },
): Promise<Found[]> {
  const all = await pathsOf(cluster, contenders);
  const late = new Set<Path>();
  const found: Found[] = [];
  let made = 0;
  for (const policies of numbers) {
    say(`${policies} policies`);
    const names = Array.from({ length: policies - made }, (_, i) => `other-${String(made + i).padStart(5, '0')}`);
    await eachOf(names, 16, async name => await cluster.api.apply(policyTo(name, name)));
    made = Math.max(made, policies);
    // By name the last one, which chains keep in that order.
    if (policies > 0) await cluster.api.apply(policyTo('client', 'some'));
    for (const path of all.filter(path => !late.has(path)))
      await until('policies to be in force', async () => await isInForce(cluster, path, policies), PATIENCE).catch(
        () => {
          late.add(path);
        },
      );
    await pause(2000);
    const pairs = all
      .filter(path => !late.has(path))
      .map(path => ({
        path,
        client: cluster.netnsPath(path.client),
        server: cluster.netnsPath(path.server),
        address: path.server.status.podIP!,
      }));
    const times = pairs.map((): PacketTimes[] => []);
    for (let run = 0; run < runs; run++) for (const [i, one] of bothEnds(40, pairs).entries()) times[i]!.push(one);
    for (const [i, { path }] of pairs.entries())
      found.push({ policies, contender: path.contender.name, times: times[i]! });
    for (const path of late) found.push({ policies, contender: path.contender.name, times: [] });
  }
  await cluster.deleteNamespace(namespace);
  return found;
}
