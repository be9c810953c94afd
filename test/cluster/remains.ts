/** What is on a node because of its pods, to be compared before they come and after they are gone. */
import type { Host } from '../support/host.ts';
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

const linesOf = (text: string): readonly string[] =>
  text
    .split('\n')
    .filter(line => line !== '')
    .sort();

/** Lines of the table; none where there is none, since it goes with the last pod. */
async function tableOf(host: Host): Promise<readonly string[]> {
  const { exit, stdout, stderr } = await host.run(['bash', '-ec', `set -o pipefail; ${listed('table inet tollgate')}`]);
  if (exit !== 0 && !stderr.includes('No such file or directory')) throw new Error(`Cannot list the table: ${stderr}`);
  return linesOf(stdout);
}

export async function remainsOf({ host }: KubeNode): Promise<Remains> {
  return {
    tagged: (await links(host)).filter(({ group }) => isTag(group)).map(({ name, alias }) => `${name} ${alias}`),
    routes: linesOf(await host.sh('ip route show table all')),
    neighbours: linesOf(await host.sh('ip neigh show nud permanent')),
    table: await tableOf(host),
    files: host.files('/var/lib/tollgate').filter(file => /\/(attachments|claims)\//.test(file)),
  };
}
