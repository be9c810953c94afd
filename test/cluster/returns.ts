/** A node leaves, and comes back by its old name with another address, and with nothing of what it had. */
import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import { until } from '../support/until.ts';
import { nodePlace } from './addresses.ts';
import type { Pod } from './api.ts';
import { defaultDeny, type KubeCluster, namespaceOf, policyOf } from './cluster.ts';
import { type AskFlow, settle } from './patience.ts';
import { release } from './release.ts';

const name = 'node3';
const namespace = 'returns';

export function returns(cluster: () => KubeCluster): void {
  suite('a node that leaves and comes back with another address', () => {
    let client: Pod;
    after(async () => await cluster().removeNode(name));

    const routesTo = async (address: string): Promise<string> =>
      await cluster().node.host.sh(`{ ip route; ip -6 route; } | grep -F "via ${address} " || true`);

    /** Its pods are reached by who is allowed, and by nobody else. */
    async function isUsed(web: Pod): Promise<void> {
      const reaches: AskFlow = (_, patience) => cluster().reaches(client, web, { patience });
      await settle({ 'the allowed one to its pod': true }, reaches);
      await cluster().api.label(client, { app: 'stranger' });
      await settle({ 'with another label': false }, reaches);
      await cluster().api.label(client, { app: 'client' });
      await settle({ 'with its old label': true }, reaches);
    }

    test('others lose their routes to it, learn its new ones, and policy holds as before', async t => {
      const { api } = cluster();
      await api.apply(namespaceOf(namespace));
      await api.apply(defaultDeny(namespace, ['Ingress']));
      const from = [{ podSelector: { matchLabels: { app: 'client' } } }];
      await api.apply(
        policyOf(namespace, 'clients', { podSelector: { matchLabels: { app: 'web' } }, ingress: [{ from }] }),
      );
      client = await cluster().run({ namespace, name: 'client', labels: { app: 'client' }, node: 'node1' });
      const web = { namespace, labels: { app: 'web' }, node: name };
      const [old, next] = [nodePlace(30), nodePlace(31)];

      await cluster().addNode(release.agent, { name, place: old });
      await isUsed(await cluster().run({ ...web, name: 'before' }));
      t.diagnostic(`to ${name} at ${old.v4}: ${(await routesTo(old.v4)).trim()}`);

      await cluster().removeNode(name);
      const left = async () => (await routesTo(old.v4)) + (await routesTo(old.v6));
      await until('the routes to be gone', async () => (await left()) === '');

      await cluster().addNode(release.agent, { name, place: next });
      await isUsed(await cluster().run({ ...web, name: 'after' }));
      t.diagnostic(`to ${name} at ${next.v4}: ${(await routesTo(next.v4)).trim()}`);
      assert.equal(await left(), '');
    });
  });
}
