/** `kubectl tollgate flows`: what the agents of two nodes record, as one list. */
import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import { after, before, suite, test } from 'node:test';
import { until } from '../support/until.ts';
import type { Pod } from './api.ts';
import { defaultDeny, type KubeCluster, namespaceOf, policyOf } from './cluster.ts';
import { SILENCE } from './patience.ts';
import { plugin, spawnPlugin } from './plugin.ts';

const namespace = 'recorded';

interface Flow {
  readonly kind: 'flow';
  readonly verdict: 'allowed' | 'denied';
  readonly from: { readonly name: string };
  readonly to: { readonly name: string };
  readonly port: number | null;
  readonly egress: { readonly by: readonly string[] } | null;
  readonly ingress: { readonly by: readonly string[] } | null;
}
/** Of packets and events that no record tells of one by one; a busy node has them at any time. */
interface Note {
  readonly kind: 'sum' | 'loss';
}
/** In a list a flow has all nodes that recorded it. */
type Listed = Flow & { readonly nodes: readonly string[] };
/** As it comes, it has the one that tells it. */
type Followed = Flow & { readonly node: string };

const isFlow = <T extends Flow>(entry: T | Note): entry is T => entry.kind === 'flow';

const way = ({ from, to, port, verdict }: Flow): string =>
  `${from.name.split('/')[1]} → ${to.name.split('/')[1]}:${port} ${verdict}`;

export function kubectlFlows(cluster: () => KubeCluster): void {
  suite('kubectl tollgate flows', () => {
    const pods = new Map<string, Pod>();
    const asks = (from: string, to: string, port: number) =>
      cluster().reaches(pods.get(from)!, pods.get(to)!, { port, patience: SILENCE });

    before(async () => {
      await cluster().api.apply(namespaceOf(namespace));
      await cluster().api.apply(defaultDeny(namespace, ['Ingress']));
      await cluster().api.apply(
        policyOf(namespace, 'to-port-80', { podSelector: {}, ingress: [{ ports: [{ port: 80 }] }] }),
      );
      // Each node has a pod that asks and one that is asked.
      const all = ['web', 'client'].flatMap(app =>
        [1, 2].map(number => ({ namespace, name: `${app}${number}`, labels: { app }, node: `node${number}` })),
      );
      for (const pod of await cluster().runAll(all)) pods.set(pod.metadata.name, pod);
      await until('the policies to be in force', async () => {
        const open = await Promise.all([asks('client1', 'web2', 80), asks('client2', 'web1', 80)]);
        const shut = await Promise.all([asks('client1', 'web2', 81), asks('client2', 'web1', 81)]);
        return open.every(is => is) && !shut.some(is => is);
      });
    });
    after(async () => await cluster().deleteNamespace(namespace));

    async function listed(...words: string[]): Promise<readonly Listed[]> {
      const { status, stdout, stderr } = await plugin('flows', ...words, '-o', 'json');
      assert.equal(status, 0, stderr);
      return stdout
        .split('\n')
        .filter(line => line !== '')
        .map(line => JSON.parse(line) as Listed | Note)
        .filter(isFlow);
    }

    test('flows between two nodes stand there once, with what both of them know', async () => {
      await asks('client1', 'web2', 80);
      await asks('client2', 'web1', 80);
      const find = (found: readonly Listed[], from: string, to: string) =>
        found.findLast(flow => way(flow) === `${from} → ${to}:80 allowed`);
      const both = async () => {
        const found = await listed('--since', '10m', `ns:${namespace}`);
        const [there, back] = [find(found, 'client1', 'web2'), find(found, 'client2', 'web1')];
        return there?.nodes.length === 2 && back?.nodes.length === 2 ? [there, back] : undefined;
      };
      for (const flow of await until('both nodes to have recorded both', both)) {
        assert.deepEqual(flow.nodes.toSorted(), ['node1', 'node2']);
        assert.deepEqual(flow.ingress?.by, [`NetworkPolicy/${namespace}/to-port-80`], 'of the node that is asked');
        assert.deepEqual(flow.egress?.by, [], 'of the node that asks');
      }
    });

    test('a filter is asked of each node, and a person reads which of them tells it', async () => {
      // Port 80 was shut, too, until its policy was heard of.
      const words = ['--since', '10m', 'verdict:denied', 'port:81', `ns:${namespace}`];
      const found = await until('both denials', async () => {
        const flows = await listed(...words);
        return new Set(flows.map(way)).size >= 2 ? flows : undefined;
      });
      assert.deepEqual([...new Set(found.map(way))].sort(), ['client1 → web2:81 denied', 'client2 → web1:81 denied']);
      const { stdout } = await plugin('flows', ...words);
      for (const [node, line] of [
        ['node2', `${namespace}/client1 .*→ ${namespace}/web2 .*81`],
        ['node1', `${namespace}/client2 .*→ ${namespace}/web1 .*81`],
      ])
        assert.match(stdout, new RegExp(`^${node}: .*denied .*${line}.*default-deny`, 'm'));
    });

    test('--follow tells those of both nodes as they come', async () => {
      const child = spawnPlugin('flows', '--follow', 'verdict:allowed', `ns:${namespace}`, '-o', 'json');
      const flows: Followed[] = [];
      createInterface(child.stdout).on('line', line => {
        const entry = JSON.parse(line) as Followed | Note;
        if (isFlow(entry)) flows.push(entry);
      });
      try {
        const isTold = (node: string, what: string) => flows.some(flow => flow.node === node && way(flow) === what);
        // Each node begins in its own time: they are asked again until both tell it.
        await until('both nodes to tell both', async () => {
          await Promise.all([asks('client1', 'web2', 80), asks('client2', 'web1', 80), asks('client1', 'web2', 81)]);
          return ['node1', 'node2'].every(
            node => isTold(node, 'client1 → web2:80 allowed') && isTold(node, 'client2 → web1:80 allowed'),
          );
        });
        assert.deepEqual(
          flows.filter(({ verdict }) => verdict !== 'allowed'),
          [],
        );
      } finally {
        child.kill('SIGTERM');
      }
    });
  });
}
