/** Namespaces that the engines are measured in. */
import { type KubeCluster, type Labels, namespaceOf } from '../../cluster/cluster.ts';
import type { Contender } from './contenders.ts';

/** A namespace of the contender's own: no other contender has policies in it. */
export const spaceOf = ({ node }: Contender, purpose: string): string => `${purpose}-${node.name}`;

/** Resolves when pods can be made in it, which takes the account that controllers give it. */
export async function openSpace(cluster: KubeCluster, name: string, labels?: Labels): Promise<void> {
  await cluster.api.apply(namespaceOf(name, labels));
  await cluster.until(`/api/v1/namespaces/${name}/serviceaccounts/default`, 'there', () => true);
}
