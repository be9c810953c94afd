/** Two nodes on one link: the agents' routes, and policy across nodes. */
import assert from 'node:assert/strict';
import { before, suite, test } from 'node:test';
import type { Pod } from './api.ts';
import { defaultDeny, type KubeCluster, namespaceOf, policyOf } from './cluster.ts';
import { type AskFlow, settle, verdictsAre } from './patience.ts';

export function nodes(cluster: () => KubeCluster): void {
  suite('two nodes', () => {
    const pods = new Map<string, Pod>();
    const pod = (name: string): Pod => pods.get(name)!;
    /** Of `client-node1 → web-node2`. */
    const reaches: AskFlow = async (flow, patience) => {
      const [from, to] = flow.split(' → ');
      return await cluster().reaches(pod(from!), pod(to!), { patience });
    };

    before(async () => {
      if (!cluster().nodes.has('node2')) await cluster().addNode('program');
      await cluster().api.apply(namespaceOf('wide'));
      const all = ['node1', 'node2'].flatMap(node =>
        ['web', 'client', 'stranger'].map(app => ({
          namespace: 'wide',
          name: `${app}-${node}`,
          labels: { app },
          node,
        })),
      );
      for (const made of await cluster().runAll(all)) pods.set(made.metadata.name, made);
    });

    test("pods reach each other by the agents' routes, from addresses of their own", async () => {
      await settle({ 'client-node1 → web-node2': true, 'client-node2 → web-node1': true }, reaches);
      const ranges = await Promise.all(
        [...cluster().nodes.values()].map(async node => (await node.read())!.spec.podCIDR),
      );
      assert.equal(new Set(ranges).size, 2);
    });

    test('policy holds across nodes by label', async () => {
      const { api } = cluster();
      const from = [{ podSelector: { matchLabels: { app: 'client' } } }];
      await api.apply(defaultDeny('wide', ['Ingress']));
      await api.apply(
        policyOf('wide', 'clients', { podSelector: { matchLabels: { app: 'web' } }, ingress: [{ from }] }),
      );
      const flows = ['node1', 'node2'].flatMap(here =>
        ['node1', 'node2'].flatMap(there => [
          [`client-${here} → web-${there}`, true],
          [`stranger-${here} → web-${there}`, false],
        ]),
      );
      await settle(Object.fromEntries(flows), reaches);
    });

    test('a label that changes on one node is heard on the other', async () => {
      const { api } = cluster();
      for (const [app, isAllowed] of [
        ['client', true],
        ['stranger', false],
      ] as const) {
        await api.label(pod('stranger-node2'), { app });
        await settle({ 'stranger-node2 → web-node1': isAllowed }, reaches);
      }
    });

    test('a pod under default-deny answers its own node, and no other one', async () => {
      const flows = ['node1', 'node2'].flatMap(here =>
        ['node1', 'node2'].map(there => [`${here} → stranger-${there}`, here === there]),
      );
      await verdictsAre(Object.fromEntries(flows), async (flow, patience) => {
        const [node, asked] = flow.split(' → ');
        return await cluster().nodes.get(node!)!.answers(pod(asked!), patience);
      });
    });
  });
}
