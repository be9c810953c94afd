/** From the write of a policy to the first packet that it refuses, and from its deletion to the first that passes again. */
import { type KubeCluster, namespaceOf, policyOf } from '../../cluster/cluster.ts';
import { delayOf, knockingAt } from '../../cluster/delay.ts';
import type { Contender } from './contenders.ts';
import { spaceOf } from './starts.ts';

/** Milliseconds, change after change. */
export interface Delays {
  readonly refused: readonly number[];
  readonly allowed: readonly number[];
}

/** @param changes of each kind */
export async function changes(cluster: KubeCluster, contender: Contender, changes: number): Promise<Delays> {
  const namespace = spaceOf(contender, 'change');
  const node = contender.node.name;
  await cluster.api.apply(namespaceOf(namespace));
  const [client, server] = await cluster.runAll(
    ['client', 'server'].map(name => ({ namespace, name, labels: { app: name }, node })),
  );
  const closed = policyOf(namespace, 'closed', { podSelector: { matchLabels: { app: 'server' } } });
  using knocking = knockingAt(cluster, client!, server!);
  const [refused, allowed]: [number[], number[]] = [[], []];
  for (let i = 0; i < changes; i++) {
    refused.push(await delayOf(knocking, false, async () => void (await cluster.api.apply(closed))));
    allowed.push(await delayOf(knocking, true, async () => await cluster.api.delete(closed)));
  }
  await knocking.end();
  await cluster.deleteNamespace(namespace);
  return { refused, allowed };
}
