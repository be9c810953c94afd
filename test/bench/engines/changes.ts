/** From the write of a policy to the first packet that it refuses, and from its deletion to the first that passes again. */
import { type KubeCluster, policyOf } from '../../cluster/cluster.ts';
import { delayOf, knockingAt } from '../../cluster/delay.ts';
import { quantile } from '../report.ts';
import type { Contender } from './contenders.ts';
import { openSpace, spaceOf } from './spaces.ts';

/** Milliseconds, change after change. */
export interface Delays {
  readonly refused: readonly number[];
  readonly allowed: readonly number[];
  /** Changes that were not in force in time, which stand among the others with that time. */
  readonly late: number;
}

/** Milliseconds. */
const PATIENCE = 20_000;
/** Milliseconds that the changes of one engine may take: kube-router takes longer for each than for the one before. */
const LIMIT = 180_000;

/** @param changes of each kind */
export async function changes(
  cluster: KubeCluster,
  contender: Contender,
  changes: number,
  say: (progress: string) => void,
): Promise<Delays> {
  const namespace = spaceOf(contender, 'change');
  const node = contender.node.name;
  await openSpace(cluster, namespace);
  const [client, server] = await cluster.runAll(
    ['client', 'server'].map(name => ({ namespace, name, labels: { app: name }, node })),
  );
  const closed = policyOf(namespace, 'closed', { podSelector: { matchLabels: { app: 'server' } } });
  using knocking = knockingAt(cluster, client!, server!);
  const [refused, allowed]: [number[], number[]] = [[], []];
  let late = 0;
  const delay = (isAllowed: boolean, write: () => Promise<unknown>): Promise<number> =>
    delayOf(knocking, isAllowed, async () => void (await write()), PATIENCE).catch(() => {
      late++;
      return PATIENCE;
    });
  const started = performance.now();
  for (let i = 0; i < changes && performance.now() - started < LIMIT; i++) {
    refused.push(await delay(false, () => cluster.api.apply(closed)));
    allowed.push(await delay(true, () => cluster.api.delete(closed)));
    if ((i + 1) % 10 === 0) {
      const median = (values: readonly number[]) => quantile(values, 0.5).toFixed(0);
      say(
        `${i + 1} of ${changes}: refused after ${median(refused)} ms, allowed after ${median(allowed)}, ${late} too late`,
      );
    }
  }
  await knocking.end();
  await cluster.deleteNamespace(namespace);
  return { refused, allowed, late };
}
