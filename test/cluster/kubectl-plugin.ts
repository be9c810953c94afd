/** `kubectl tollgate` as an administrator types it: the executable under a name that kubectl finds. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, suite, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { parseAllDocuments } from 'yaml';
import { until } from '../support/host.ts';
import { tollgate } from '../support/places.ts';
import { isTrue, type KubeObject, type Pod } from './api.ts';
import { defaultDeny, type KubeCluster, namespaceOf } from './cluster.ts';
import { adminConfig } from './control.ts';
import { kubernetes, scratch } from './daemon.ts';

const namespace = 'asked';

export function kubectlPlugin(cluster: () => KubeCluster): void {
  suite('kubectl tollgate', () => {
    const folder = join(scratch, 'kubectl-tollgate');
    before(async () => {
      mkdirSync(folder);
      symlinkSync(tollgate, join(folder, 'kubectl-tollgate'));
      await cluster().api.apply(namespaceOf(namespace));
      await cluster().api.apply(defaultDeny(namespace, ['Ingress']));
      await cluster().runAll(
        ['web', 'client'].map((name, i) => ({ namespace, name, labels: { app: name }, node: `node${i + 1}` })),
      );
    });
    after(async () => await cluster().deleteNamespace(namespace));

    interface Said {
      readonly status: number | null;
      readonly stdout: string;
      readonly stderr: string;
    }
    async function kubectl(...words: string[]): Promise<Said> {
      const env = { PATH: `${folder}:${kubernetes}:${process.env['PATH']}`, KUBECONFIG: adminConfig };
      const child = spawn(`${kubernetes}/kubectl`, ['tollgate', ...words], { env, cwd: folder, stdio: 'pipe' });
      const [stdout, stderr] = [text(child.stdout), text(child.stderr)];
      const [status] = (await once(child, 'close')) as [number | null];
      return { status, stdout: await stdout, stderr: await stderr };
    }
    const nodes = ['node1', 'node2'];

    test('status and pods of all nodes, told apart', async t => {
      const status = await kubectl('status');
      t.diagnostic(status.stdout.split('\n').slice(0, 3).join(' | '));
      assert.equal(status.status, 0, status.stdout + status.stderr);
      for (const node of nodes) assert.match(status.stdout, new RegExp(`^${node}:\\n {2}Agent of node ${node}`, 'm'));
      const { stdout } = await kubectl('pods', '-o', 'json');
      const pods = JSON.parse(stdout) as Record<string, readonly { readonly pod: string }[]>;
      assert.ok(pods['node1']!.some(({ pod }) => pod === `${namespace}/web`));
      assert.ok(pods['node2']!.some(({ pod }) => pod === `${namespace}/client`));
    });

    test('verify of one node', async () => {
      const { stdout, stderr } = await kubectl('verify', '--node', 'node2', '-o', 'json');
      const found = JSON.parse(stdout) as Record<string, { readonly differences: readonly unknown[] }>;
      assert.deepEqual(Object.keys(found), ['node2'], stderr);
      assert.deepEqual(found['node2']!.differences, []);
    });

    test('a node that there is not is named, with those that there are', async () => {
      const { status, stderr } = await kubectl('verify', '--node', 'node9');
      assert.equal(status, 3);
      assert.match(stderr, /Cannot ask node node9: tollgate runs on node1, node2/);
    });

    test('policy is judged by the cluster’s objects', async () => {
      const question = ['--from', `${namespace}/client`, '--to', `${namespace}/web`, '--port', '80/TCP'];
      await until(
        'the policy to be told',
        async () => (await kubectl('policy', 'explain', ...question)).status === 1,
        120_000,
      );
      const { stdout } = await kubectl('policy', 'explain', ...question);
      assert.match(stdout, new RegExp(`NetworkPolicy/${namespace}/default-deny`));
      assert.equal((await kubectl('policy', 'lint')).status, 0);
    });

    interface Tested {
      readonly ok: boolean;
      readonly checks: readonly { readonly name: string; readonly family: number | null; readonly ok: boolean }[];
      readonly causes: readonly string[];
      readonly notTried: readonly string[];
    }

    test('the connectivity test of a cluster that is well: pods, nodes, Service, name, hostPort, policy', async t => {
      const { status, stdout, stderr } = await kubectl('connectivity', 'test', '-o', 'json');
      assert.equal(status, 0, stdout + stderr);
      const { checks, notTried } = JSON.parse(stdout) as Tested;
      t.diagnostic(`${checks.length} checks are as they should be; not tried: ${notTried.join(', ')}`);
      assert.match(notTried.join(), /^policies of the cluster: its API does not know clusternetworkpolicies/);
      for (const name of [
        'pod to pod between nodes',
        'full packets between nodes',
        'what a policy denies between nodes',
        'a Service',
        'a hostPort',
      ])
        for (const family of [4, 6])
          assert.ok(
            checks.some(each => each.name === name && each.family === family),
            `${name}, IPv${family}`,
          );
      assert.ok(checks.some(({ name }) => name === 'a name of DNS'));
      for (const node of nodes) assert.ok(checks.some(({ name }) => name === `the agent of ${node}`));
    });

    test('where the API knows ClusterNetworkPolicy, both tiers are tried', async () => {
      const printed = execFileSync(tollgate, ['install', '--kubernetes', '--with-crds'], { encoding: 'utf8' });
      for (const document of parseAllDocuments(printed)) {
        const object = document.toJS() as KubeObject;
        if (object.kind === 'CustomResourceDefinition') await cluster().api.apply(object);
      }
      const { status, stdout, stderr } = await kubectl('connectivity', 'test', '-o', 'json');
      assert.equal(status, 0, stdout + stderr);
      const { checks, notTried } = JSON.parse(stdout) as Tested;
      assert.deepEqual(notTried, []);
      for (const name of ['Admin denies', 'Admin accepts', 'Admin passes', 'Baseline denies', 'Baseline comes'])
        assert.ok(
          checks.some(check => check.name.startsWith(name)),
          name,
        );
    });

    /** As kubelet says it. */
    async function isAgentReady(node: string): Promise<boolean> {
      const pods = await cluster().api.list<Pod>('/api/v1/namespaces/kube-system/pods');
      const agent = pods.find(({ metadata, spec }) => metadata.name.startsWith('tollgate-') && spec.nodeName === node);
      return agent !== undefined && isTrue(agent.status.conditions, 'Ready');
    }

    test('an agent that does not answer is found, and its node is named', async t => {
      const { pid } = cluster().nodes.get('node2')!.agent;
      process.kill(pid, 'SIGSTOP');
      try {
        await until('kubelet to notice', async () => !(await isAgentReady('node2')));
        const { status, stdout, stderr } = await kubectl('connectivity', 'test', '-o', 'json');
        assert.equal(status, 1, stdout + stderr);
        const { checks, causes, notTried } = JSON.parse(stdout) as Tested;
        assert.deepEqual(
          checks.filter(({ ok }) => !ok).map(({ name }) => name),
          ['the agent of node2'],
        );
        t.diagnostic(causes.join(' | '));
        assert.match(causes.join(), /^node2: its agent does not answer/);
        assert.match(notTried.join(), /pods of two nodes: one agent is ready/);
      } finally {
        process.kill(pid, 'SIGCONT');
      }
      await until('kubelet to notice that it is back', () => isAgentReady('node2'));
    });

    test('what another program drops between nodes is found, and its chain is named', async t => {
      const { host } = cluster().nodes.get('node2')!;
      const rules =
        'add table ip foreign; add chain ip foreign forward { type filter hook forward priority 0; }; add rule ip foreign forward drop';
      await host.sh(`nft '${rules}'`);
      try {
        const { status, stdout, stderr } = await kubectl('connectivity', 'test', '-o', 'json');
        assert.equal(status, 1, stdout + stderr);
        const { checks, causes } = JSON.parse(stdout) as Tested;
        assert.ok(
          checks
            .filter(({ ok }) => !ok)
            .every(({ family, name }) => family === 4 && /between nodes|Service|name/.test(name)),
          stdout,
        );
        t.diagnostic(causes.join(' | '));
        assert.match(causes.join(), /node2: .*foreign/);
      } finally {
        await host.sh('nft delete table ip foreign');
      }
    });

    test('one archive of the cluster and of each node', async t => {
      const path = join(folder, 'dump.tar.gz');
      const { status, stderr } = await kubectl('sysdump', '--output', path);
      assert.equal(status, 0, stderr);
      const listed = gunzipSync(readFileSync(path)).toString('latin1');
      for (const node of nodes)
        for (const file of ['agent.log', 'sysdump.tar.gz']) assert.match(listed, new RegExp(`nodes/${node}/${file}`));
      t.diagnostic(`${readFileSync(path).length} bytes; ${stderr.trim() || 'nothing is missing'}`);
      assert.doesNotMatch(stderr, /not in it/);
    });
  });
}
