/** What is on a node because of its pods, to be compared before they come and after they are gone. */
import { isTag, links, listed } from '../support/snapshot.ts';
import type { KubeNode } from './node.ts';

/** What of pods could be left on a node. */
export interface Remains {
  readonly tagged: readonly string[];
  readonly routes: readonly string[];
  readonly neighbours: readonly string[];
  readonly table: readonly string[];
  readonly files: readonly string[];
}

export async function remainsOf({ host }: KubeNode): Promise<Remains> {
  const lines = async (command: string) =>
    (await host.sh(command))
      .split('\n')
      .filter(line => line !== '')
      .sort();
  return {
    tagged: (await links(host)).filter(({ group }) => isTag(group)).map(({ name, alias }) => `${name} ${alias}`),
    routes: await lines('ip route show table all'),
    neighbours: await lines('ip neigh show nud permanent'),
    table: await lines(listed('table inet tollgate')),
    files: host.files('/var/lib/tollgate').filter(file => /\/(attachments|claims)\//.test(file)),
  };
}
