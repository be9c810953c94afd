/** A node that runs CRI-O joins those of containerd, is set up as the README says, has pods come and go, and leaves. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { after, before, suite, test } from 'node:test';
import { eventually, until } from '../support/until.ts';
import { nodePlace } from './addresses.ts';
import type { Pod } from './api.ts';
import { Asker, type Family } from './asker.ts';
import { defaultDeny, type KubeCluster, namespaceOf, type PodOptions, patient, podOf, policyOf } from './cluster.ts';
import { Kubectl } from './kubectl.ts';
import type { KubeNode } from './node.ts';
import { ANSWER, type AskFlow, settle, verdictsAre } from './patience.ts';
import { plugin } from './plugin.ts';
import { release } from './release.ts';
import { remainsOf } from './remains.ts';
import { crio, crioNetwork } from './runtime.ts';
import { Connection } from './traffic.ts';

const namespace = 'crio';
const kubectl = new Kubectl(namespace);
/** The node of CRI-O, and one of containerd. */
const [name, other] = ['node3', 'node1'];
const place = nodePlace(50);
const confDir = '/run/cni/net.d';
const hostPort = 18090;
const families: readonly Family[] = [4, 6];

const podOn = (node: string, app: string, container: object = {}): PodOptions => ({
  ...{ namespace, name: `${app}-${node}`, labels: { app }, node },
  container: { ...container },
});
/** Probed by kubelet, and by a program that CRI-O starts in it. */
const published = {
  ports: [{ name: 'http', containerPort: 80, hostPort }],
  readinessProbe: { httpGet: { path: '/', port: 80 }, periodSeconds: 1, ...patient },
  startupProbe: {
    exec: { command: ['/bin/pod', 'ask', 'tcp', '127.0.0.1', '80', '1000'] },
    periodSeconds: 1,
    ...patient,
  },
};

const apps = ['web', 'client', 'stranger'] as const;
const ofContainerd = apps.map(app => podOn(other, app));
const ofCrio = apps.map(app => podOn(name, app, app === 'web' ? published : {}));

/** What is there because of pods: ours, and CRI-O's. */
async function tracesOf(node: KubeNode): Promise<object> {
  const [results, netns] = ['/var/lib/cni/results', '/run/netns'].map(folder => node.host.files(folder));
  // By the shell alone: what goes while it looks is no error.
  const cgroups = await node.host.sh(`printf '%s\\n' /sys/fs/cgroup/*${node.cgroup}/kubepods/*/pod*`);
  return { ...(await remainsOf(node)), results, netns, cgroups };
}

export function crioNode(cluster: () => KubeCluster): void {
  suite('a node that runs CRI-O', () => {
    let node: KubeNode;
    let untouched: object;
    const pods = new Map<string, Pod>();
    const pod = (app: string, on: string): Pod => pods.get(`${app}-${on}`)!;
    async function run(...all: readonly PodOptions[]): Promise<void> {
      for (const made of await cluster().runAll(all)) pods.set(made.metadata.name, made);
    }

    before(async () => {
      const { api, nodes } = cluster();
      await api.apply(namespaceOf(namespace));
      await api.apply(defaultDeny(namespace, ['Ingress']));
      const { v4, v6 } = nodes.get(other)!.place;
      const blocks = [`${v4}/32`, `${v6}/128`].map(cidr => ({ ipBlock: { cidr } }));
      const from = [{ podSelector: { matchLabels: { app: 'client' } } }, ...blocks];
      await api.apply(
        policyOf(namespace, 'web', { podSelector: { matchLabels: { app: 'web' } }, ingress: [{ from }] }),
      );
      const files = { [`${confDir}/10-crio-bridge.conflist`]: readFileSync(crioNetwork, 'utf8') };
      node = await cluster().addNode(release.agent, { name, place, runtime: crio, files });
    });
    after(async () => {
      await cluster().deleteNamespace(namespace);
      await cluster().removeNode(name);
    });

    test("the network of CRI-O's package comes first, until it is moved away as the README says", async t => {
      const [complaint] = await until('the agent to say so', () =>
        /No conflist is written: \S*crio-bridge\S* [^;]*/.exec(node.agent.tail(1000)),
      );
      t.diagnostic(`the agent: ${complaint}`);
      await node.host.sh(`mkdir /run/aside; mv ${confDir}/*crio* /run/aside`);
      await node.runtime.end('SIGTERM');
      await node.startRuntime();
      await until('the conflist', () => node.host.files(confDir).includes(`${confDir}/10-tollgate.conflist`));
      await node.isReady();
      untouched = await tracesOf(node);
    });

    /** Whether the address answers in both families within the patience (ms), or in one. */
    async function hears(asker: Asker, addresses: readonly string[], port: number, patience: number) {
      const answers = await Promise.all(
        addresses.map(address => asker.ask({ transport: 'tcp', address, port }, patience)),
      );
      const heard = addresses.filter((_, i) => answers[i] !== undefined);
      return heard.length === addresses.length || (heard.length === 0 ? false : `${heard} alone`);
    }
    /** Of `client-node1 → web-node3`, by both families. */
    const reaches: AskFlow = (flow, patience) => {
      const [from, to] = flow.split(' → ').map(name => pods.get(name)!);
      const addresses = families.map(family => to!.status.podIPs!.map(({ ip }) => ip).find(ip => isIP(ip) === family)!);
      return hears(Asker.pod(cluster(), from!), addresses, 80, patience);
    };

    test('its pods have addresses of both families, and policy holds between them and those of containerd', async t => {
      await run(...ofContainerd, ...ofCrio);
      const addresses = pod('web', name).status.podIPs!.map(({ ip }) => ip);
      t.diagnostic(`web on ${name}: ${addresses.join(', ')}`);
      const expected = [name, other].flatMap(here =>
        [name, other].flatMap(there =>
          ['client', 'stranger'].map(app => [`${app}-${here} → web-${there}`, app === 'client'] as const),
        ),
      );
      await settle(Object.fromEntries(expected), reaches);
    });

    test('a label that changes on one of both nodes is heard on the other', async () => {
      const labels = [
        ['client', true],
        ['stranger', false],
      ] as const;
      for (const [here, there] of [
        [name, other],
        [other, name],
      ] as const) {
        const stranger = pod('stranger', here);
        for (const [app, isAllowed] of labels) {
          await cluster().api.label(stranger, { app });
          await settle({ [`stranger-${here} → web-${there}`]: isAllowed }, reaches);
        }
      }
    });

    test('its hostPort, which CRI-O maps by itself, answers who is allowed', async () => {
      const askers: Readonly<Record<string, Asker>> = {
        [`client-${name}`]: Asker.pod(cluster(), pod('client', name)),
        [`stranger-${name}`]: Asker.pod(cluster(), pod('stranger', name)),
        node1: Asker.node(cluster().nodes.get('node1')!),
        node2: Asker.node(cluster().nodes.get('node2')!),
      };
      const expected = { [`client-${name}`]: true, [`stranger-${name}`]: false, node1: true, node2: false };
      await verdictsAre(expected, (who, patience) => hears(askers[who]!, [place.v4, place.v6], hostPort, patience));
    });

    const ask = ['exec', `web-${name}`, '--', '/bin/pod', 'ask', 'tcp', '127.0.0.1', '80', String(ANSWER), 'who'];

    test('kubectl exec and logs reach its pods, and kubectl tollgate its agent', async t => {
      const said = kubectl.run(...ask);
      assert.match(said, new RegExp(`^web-${name} 127\\.0\\.0\\.1`));
      await cluster().api.apply(podOf({ ...podOn(name, 'says'), words: ['what?'] }));
      const line = await kubectl.until('its log', 'logs', `says-${name}`);
      assert.match(line, /^usage: pod /);
      t.diagnostic(`exec: ${said.trim()}; logs: ${line.split('\n')[0]}`);
      const { stdout, stderr } = await plugin('verify', '--node', name, '-o', 'json');
      const verified = JSON.parse(stdout) as Record<string, { readonly differences: readonly unknown[] }>;
      assert.deepEqual(verified[name]?.differences, [], stderr);
    });

    test('CRI-O is killed and started again: its pods and a connection go on, and the next pod comes', async t => {
      using connection = await Connection.open(cluster(), pod('client', other), pod('web', name));
      const verdicts = { [`client-${other} → web-${name}`]: true, [`stranger-${other} → web-${name}`]: false };
      const holds = () => verdictsAre(verdicts, reaches);
      await node.runtime.end('SIGKILL');
      await holds();
      await node.startRuntime();
      await kubectl.until('kubelet to find CRI-O again', ...ask);
      await run(...ofCrio, { ...podOn(name, 'client'), name: 'late' });
      await settle({ [`late → web-${name}`]: true }, reaches);
      await holds();
      await connection.goesOn();
      const { echoes, longestWait } = await connection.end();
      t.diagnostic(`${echoes} echoes, ${longestWait} ms at most between two`);
      for (const { metadata, status } of await cluster().api.list<Pod>(`/api/v1/namespaces/${namespace}/pods`))
        if (pods.has(metadata.name)) assert.equal(status.containerStatuses![0]!.restartCount, 0, metadata.name);
    });

    test('its pods go, and leave nothing', async () => {
      await cluster().api.deleteAll(`/api/v1/namespaces/${namespace}/pods`);
      assert.deepEqual(await eventually(untouched, () => tracesOf(node)), untouched);
    });

    test('it leaves: the API and the other nodes know nothing of it', async () => {
      const { api, nodes } = cluster();
      await cluster().removeNode(name);
      assert.equal(await api.get(`/api/v1/nodes/${name}`), undefined);
      // A DaemonSet that has yet to hear of it may have made one more pod there, which the collector of lost pods takes away.
      const left = async () => (await api.list<Pod>('/api/v1/pods')).filter(({ spec }) => spec.nodeName === name);
      assert.deepEqual(await eventually([], left), []);
      for (const { host } of nodes.values()) {
        const routes = () => host.sh(`{ ip route; ip -6 route; } | grep -wF -e ${place.v4} -e ${place.v6} || true`);
        await until('the routes to be gone', async () => (await routes()) === '');
      }
    });
  });
}
