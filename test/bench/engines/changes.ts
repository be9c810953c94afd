/** From the write of a policy to the first packet that it refuses, and from its deletion to the first that passes again. */
import { type KubeCluster, policyOf } from '../../cluster/cluster.ts';
import { delayOf, knockingAt } from '../../cluster/delay.ts';
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

/** @param changes of each kind */
export async function changes(cluster: KubeCluster, contender: Contender, changes: number): Promise<Delays> {
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
  for (let i = 0; i < changes; i++) {
    refused.push(await delay(false, () => cluster.api.apply(closed)));
    allowed.push(await delay(true, () => cluster.api.delete(closed)));
  }
  await knocking.end();
  await cluster.deleteNamespace(namespace);
  return { refused, allowed, late };
}
