/** `kubectl tollgate` asks all nodes, and judges by the cluster's objects. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { until } from '../support/until.ts';
import { defaultDeny, type KubeCluster, namespaceOf } from './cluster.ts';
import { plugin, pluginFolder } from './plugin.ts';

const namespace = 'asked';

export function kubectlPlugin(cluster: () => KubeCluster): void {
  suite('kubectl tollgate', () => {
    before(async () => {
      await cluster().api.apply(namespaceOf(namespace));
      await cluster().api.apply(defaultDeny(namespace, ['Ingress']));
      await cluster().runAll(
        ['web', 'client'].map((name, i) => ({ namespace, name, labels: { app: name }, node: `node${i + 1}` })),
      );
    });
    after(async () => await cluster().deleteNamespace(namespace));

    const nodes = ['node1', 'node2'];

    test('status and pods of all nodes, told apart', async t => {
      const status = await plugin('status');
      t.diagnostic(status.stdout.split('\n').slice(0, 3).join(' | '));
      assert.equal(status.status, 0, status.stdout + status.stderr);
      for (const node of nodes) assert.match(status.stdout, new RegExp(`^${node}:\\n {2}Agent of node ${node}`, 'm'));
      const { stdout } = await plugin('pods', '-o', 'json');
      const pods = JSON.parse(stdout) as Record<string, readonly { readonly pod: string }[]>;
      assert.ok(pods['node1']!.some(({ pod }) => pod === `${namespace}/web`));
      assert.ok(pods['node2']!.some(({ pod }) => pod === `${namespace}/client`));
    });

    test('verify of one node', async () => {
      const { stdout, stderr } = await plugin('verify', '--node', 'node2', '-o', 'json');
      const found = JSON.parse(stdout) as Record<string, { readonly differences: readonly unknown[] }>;
      assert.deepEqual(Object.keys(found), ['node2'], stderr);
      assert.deepEqual(found['node2']!.differences, []);
    });

    test('a node that there is not is named, with those that there are', async () => {
      const { status, stderr } = await plugin('verify', '--node', 'node9');
      assert.equal(status, 3);
      assert.match(stderr, /Cannot ask node node9: tollgate runs on node1, node2/);
    });

    test('policy is judged by the cluster’s objects', async () => {
      const question = ['--from', `${namespace}/client`, '--to', `${namespace}/web`, '--port', '80/TCP'];
      await until('the policy to be told', async () => (await plugin('policy', 'explain', ...question)).status === 1);
      const { stdout } = await plugin('policy', 'explain', ...question);
      assert.match(stdout, new RegExp(`NetworkPolicy/${namespace}/default-deny`));
      assert.equal((await plugin('policy', 'lint')).status, 0);
    });

    test('one archive of the cluster and of each node', async t => {
      const path = join(pluginFolder, 'dump.tar.gz');
      const { status, stderr } = await plugin('sysdump', '--output', path);
      assert.equal(status, 0, stderr);
      const listed = gunzipSync(readFileSync(path)).toString('latin1');
      for (const node of nodes)
        for (const file of ['agent.log', 'sysdump.tar.gz']) assert.match(listed, new RegExp(`nodes/${node}/${file}`));
      t.diagnostic(`${readFileSync(path).length} bytes; ${stderr.trim() || 'nothing is missing'}`);
      assert.doesNotMatch(stderr, /not in it/);
    });
  });
}
