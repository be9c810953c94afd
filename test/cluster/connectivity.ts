/** `kubectl tollgate connectivity test`: all is well where it is, and of each fault it names the likely cause and the node. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { before, suite, test } from 'node:test';
import { errnoOf } from '../../lib/state/error.ts';
import { tollgate } from '../support/places.ts';
import { until } from '../support/until.ts';
import { dnsService } from './addresses.ts';
import { isTrue, type Pod } from './api.ts';
import { defaultDeny, type KubeCluster, namespaceOf } from './cluster.ts';
import { define, definitions } from './definitions.ts';
import { type Ends, type Fault, faults, mended } from './faults.ts';
import type { KubeNode } from './node.ts';
import { type AskFlow, settle, verdictsAre } from './patience.ts';
import { plugin, spawnPlugin } from './plugin.ts';

interface Check {
  readonly name: string;
  readonly family: number | null;
  readonly ok: boolean;
}
interface AgentStatus {
  readonly problems: readonly string[];
}
interface Tested {
  readonly checks: readonly Check[];
  readonly causes: readonly string[];
  readonly notTried: readonly string[];
}

/** Lets a held process go on; kubelet may have ended it meanwhile. */
function goesOn(pid: number): void {
  try {
    process.kill(pid, 'SIGCONT');
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}

export function connectivity(cluster: () => KubeCluster): void {
  suite('kubectl tollgate connectivity test', () => {
    const names = ['node1', 'node2'] as const;
    let ends: Omit<Ends, 'pod'>;
    before(async () => {
      const [near, far] = names.map(name => cluster().nodes.get(name)!) as [KubeNode, KubeNode];
      ends = { cluster: cluster(), near, far, range: (await far.read())!.spec.podCIDRs![0]! };
      await until('the agents to be ready', areAgentsReady);
    });

    /** As kubelet says it. */
    async function isAgentReady(node: string): Promise<boolean> {
      const pods = await cluster().api.list<Pod>('/api/v1/namespaces/kube-system/pods');
      const agent = pods.find(({ metadata, spec }) => metadata.name.startsWith('tollgate-') && spec.nodeName === node);
      return agent !== undefined && isTrue(agent.status.conditions, 'Ready');
    }
    const areAgentsReady = async () => (await Promise.all(names.map(isAgentReady))).every(isReady => isReady);

    /** The agent has put right what the test has mended, and finds nothing more to do. */
    async function isWhole({ host }: KubeNode): Promise<boolean> {
      if ((await host.run([tollgate, 'verify'])).exit !== 0) return false;
      const { exit, stdout } = await host.run([tollgate, 'status', '-o', 'json']);
      return exit === 0 && (JSON.parse(stdout) as AgentStatus).problems.length === 0;
    }

    /** Watches that stood still with the network, of DNS above all, go on with what was missed. */
    async function newNamesAreKnown(): Promise<void> {
      const metadata = { namespace: 'default', name: `heard-${randomBytes(3).toString('hex')}` };
      await cluster().api.apply({ apiVersion: 'v1', kind: 'Service', metadata, spec: { ports: [{ port: 80 }] } });
      const dig = [
        'dig',
        `@${dnsService}`,
        '+short',
        '+time=3',
        '+tries=1',
        `${metadata.name}.default.svc.cluster.local`,
      ];
      await until('DNS to hear of a new Service', async () => (await ends.near.host.run(dig)).stdout.startsWith('10.'));
      await cluster().api.delete({ apiVersion: 'v1', kind: 'Service', metadata });
    }

    async function tested(expected: 0 | 1): Promise<Tested> {
      const { status, stdout, stderr } = await plugin('connectivity', 'test', '-o', 'json');
      assert.equal(status, expected, stdout + stderr);
      return JSON.parse(stdout) as Tested;
    }

    test('of a cluster that is well: pods, nodes, Service, name, hostPort, policy', async t => {
      const { checks, notTried } = await tested(0);
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
      for (const node of names) assert.ok(checks.some(({ name }) => name === `the agent of ${node}`));
    });

    test('where the API knows ClusterNetworkPolicy, both tiers are tried', async () => {
      await define(cluster(), definitions());
      const { checks, notTried } = await tested(0);
      assert.deepEqual(notTried, []);
      for (const name of ['Admin denies', 'Admin accepts', 'Admin passes', 'Baseline denies', 'Baseline comes'])
        assert.ok(
          checks.some(check => check.name.startsWith(name)),
          name,
        );
    });

    test('an agent that does not answer is found, and its node is named', async t => {
      const { pid } = ends.far.agent;
      process.kill(pid, 'SIGSTOP');
      try {
        await until('kubelet to notice', async () => !(await isAgentReady('node2')));
        const { checks, causes, notTried } = await tested(1);
        assert.deepEqual(
          checks.filter(({ ok }) => !ok).map(({ name }) => name),
          ['the agent of node2'],
        );
        t.diagnostic(causes.join(' | '));
        assert.match(causes.join(), /^node2: its agent does not answer/);
        assert.match(notTried.join(), /pods of two nodes: one agent is ready/);
      } finally {
        goesOn(pid);
      }
      await until('kubelet to notice that it is back', areAgentsReady);
    });

    /** Breaks something while its pods are ready. */
    async function testedBroken({ breaks, mends }: Fault): Promise<Tested> {
      const child = spawnPlugin('connectivity', 'test', '--pause', '-o', 'json');
      const ended = once(child, 'close');
      const stdout = text(child.stdout);
      let stderr = '';
      child.stderr.setEncoding('utf8').on('data', said => {
        stderr += said;
      });
      try {
        await until('the pods of the test to be ready', () => {
          assert.equal(child.exitCode, null, stderr);
          return stderr.includes('Enter goes on');
        });
        const pods = '/api/v1/namespaces/tollgate-connectivity/pods';
        const all = { ...ends, pod: (await cluster().api.get<Pod>(`${pods}/far-open`))!.status.podIP! };
        try {
          await breaks(all);
          child.stdin.end('\n');
          const [status] = (await ended) as [number];
          assert.equal(status, 1, (await stdout) + stderr);
          return JSON.parse(await stdout) as Tested;
        } finally {
          await mends(all);
        }
      } finally {
        child.kill();
        for (const node of [ends.near, ends.far]) await until(`${node.name} to be whole`, () => isWhole(node));
        await until('the agents to be ready', areAgentsReady);
        await newNamesAreKnown();
      }
    }

    for (const fault of faults)
      test(`${fault.what}: it is found, and its likely cause told`, async t => {
        const { checks, causes } = await testedBroken(fault);
        t.diagnostic(causes.join(' | '));
        const failed = checks.filter(({ ok }) => !ok);
        assert.deepEqual(
          failed.filter(({ name, family }) => !fault.failed.test(name) || !fault.families.includes(family!)),
          [],
          'nothing else fails',
        );
        assert.ok(failed.some(({ family }) => family === 4));
        assert.match(causes.join(' | '), fault.cause);
      });

    for (const { what, breaks, isWhole: whole, told } of mended)
      test(`${what}: the agent puts it right, and says so`, async () => {
        const { host, agent } = ends.near;
        const all = { ...ends, pod: '' };
        await host.sh(breaks(all));
        await until('it to be whole', async () => (await host.run(['sh', '-c', whole(all)])).exit === 0);
        await until('it to be told', () => told.test(agent.tail(100)));
      });

    test('a table that is flushed: while the agent lives the kernel refuses; without one verify names it, and the next one puts it right', async t => {
      const { host, agent } = ends.near;
      const flush = ['nft', 'flush', 'table', 'inet', 'tollgate'];
      await cluster().api.apply(namespaceOf('flushed'));
      await cluster().api.apply(defaultDeny('flushed', ['Ingress']));
      const [web, client] = (await cluster().runAll(
        names.map((node, i) => ({ namespace: 'flushed', name: i === 0 ? 'web' : 'client', node })),
      )) as [Pod, Pod];
      const reaches: AskFlow = (_, patience) => cluster().reaches(client, web, { patience });
      await settle({ 'a denied one': false }, reaches);
      assert.match((await host.run(flush)).stderr, /Operation not permitted/);
      await verdictsAre({ 'a denied one': false }, reaches);
      await agent.kill();
      try {
        await until('the table to have no owner', async () => (await host.run(flush)).exit === 0);
        await verdictsAre({ 'one of an empty table': true }, reaches);
        const { stdout } = await host.run([tollgate, 'verify']);
        t.diagnostic(stdout.trim().replaceAll('\n', ' | '));
        assert.match(stdout, /table inet tollgate: holds no rule, .*no pod is gated/);
      } finally {
        agent.start();
      }
      await settle({ 'one of the next agent': false }, reaches);
      await until('the agents to be ready', areAgentsReady);
      await cluster().deleteNamespace('flushed');
    });
  });
}
