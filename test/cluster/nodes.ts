/** Two nodes on one link: the agents' routes, and policy across nodes. */
import assert from 'node:assert/strict';
import { before, suite, test } from 'node:test';
import { eventually, until } from '../support/until.ts';
import type { Pod } from './api.ts';
import { defaultDeny, type KubeCluster, namespaceOf, policyOf } from './cluster.ts';

export function nodes(cluster: () => KubeCluster): void {
  suite('two nodes', () => {
    const pods = new Map<string, Pod>();
    const pod = (name: string): Pod => pods.get(name)!;
    const reaches = (from: string, to: string, patience = 2000) => cluster().reaches(pod(from), pod(to), { patience });

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
      for (const [from, to] of [
        ['client-node1', 'web-node2'],
        ['client-node2', 'web-node1'],
      ] as const) {
        await until('the routes', () => reaches(from, to, 500));
      }
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
          { from: `client-${here}`, to: `web-${there}`, isAllowed: true },
          { from: `stranger-${here}`, to: `web-${there}`, isAllowed: false },
        ]),
      );
      const found = (patience: number) =>
        Promise.all(flows.map(async flow => ({ ...flow, isAllowed: await reaches(flow.from, flow.to, patience) })));
      await eventually(flows, () => found(300));
      assert.deepEqual(await found(2000), flows);
    });

    test('a label that changes on one node is heard on the other', async () => {
      const { api } = cluster();
      for (const [app, isAllowed] of [
        ['client', true],
        ['stranger', false],
      ] as const) {
        await api.label(pod('stranger-node2'), { app });
        await until('the label to hold', async () => (await reaches('stranger-node2', 'web-node1', 300)) === isAllowed);
        assert.equal(await reaches('stranger-node2', 'web-node1'), isAllowed);
      }
    });

    test('a pod under default-deny answers its own node, and no other one', async () => {
      const [one, two] = ['node1', 'node2'].map(name => cluster().nodes.get(name)!);
      assert.equal(await one!.answers(pod('stranger-node1')), true);
      assert.equal(await two!.answers(pod('stranger-node2')), true);
      assert.equal(await two!.answers(pod('stranger-node1')), false);
      assert.equal(await one!.answers(pod('stranger-node2')), false);
    });
  });
}
