/** Pods' whole life under policy: probed, started a hundred at once while they send from their first instruction, gone. */
import assert from 'node:assert/strict';
import { before, suite, test } from 'node:test';
import { eventually, until } from '../support/until.ts';
import type { Pod } from './api.ts';
import { defaultDeny, type KubeCluster, namespaceOf, patient, policyOf } from './cluster.ts';
import type { KubeNode } from './node.ts';
import { ANSWER, type AskFlow, settle } from './patience.ts';
import { remainsOf } from './remains.ts';
import { Visitors } from './traffic.ts';

const COUNT = 100;

/** How often kubelet has probed the pod with success, by the kind of probe. */
async function probesOf({ host }: KubeNode, pod: Pod): Promise<Readonly<Record<string, number>>> {
  const metrics = await host.sh(
    'exec 3<>/dev/tcp/127.0.0.1/10255; printf "GET /metrics/probes HTTP/1.0\\r\\n\\r\\n" >&3; cat <&3',
  );
  const isHis = (labels: string) =>
    labels.includes(`pod="${pod.metadata.name}"`) && labels.includes('result="successful"');
  const counts = [...metrics.matchAll(/^prober_probe_total\{(.*)\} (\d+)$/gm)]
    .filter(([, labels]) => isHis(labels!))
    .map(([, labels, count]) => [/probe_type="(\w+)"/.exec(labels!)![1]!, Number(count)] as const);
  return Object.fromEntries(counts);
}

export function life(cluster: () => KubeCluster): void {
  suite('life', () => {
    const pods = new Map<string, Pod>();
    const target = (name: string): Pod => pods.get(name)!;

    before(async () => {
      const { api } = cluster();
      for (const name of ['sink', 'vault', 'guarded', 'flood']) await api.apply(namespaceOf(name, { name }));
      await api.apply(defaultDeny('vault', ['Ingress']));
      await api.apply(defaultDeny('guarded'));
      await api.apply(defaultDeny('flood'));
      const namespaceSelector = { matchLabels: { name: 'vault' } };
      const to = [{ namespaceSelector }, { namespaceSelector: {}, podSelector: { matchLabels: { app: 'open' } } }];
      await api.apply(policyOf('flood', 'some', { podSelector: {}, policyTypes: ['Egress'], egress: [{ to }] }));
      const names = ['open', 'shut', ...fences()];
      const sinks = names.map(name => ({ namespace: 'sink', name, labels: { app: name }, ...placeOf(name) }));
      const made = [cluster().runAll(sinks), cluster().run({ namespace: 'vault', name: 'closed' })];
      for (const pod of (await Promise.all(made)).flat()) pods.set(pod.metadata.name, pod);
    });

    const allRemains = () => Promise.all([...cluster().nodes.values()].map(remainsOf));

    /** A pod on each node, by which it shows what its agent has heard of. */
    const fences = (): readonly string[] => [...cluster().nodes.keys()].map(node => `fence-${node}`);
    const placeOf = (name: string) => (name.startsWith('fence-') ? { node: name.slice('fence-'.length) } : {});

    /** By now the agents have heard of all that has become of pods and policies: what comes later has come about. */
    async function heard(): Promise<void> {
      const fence = policyOf('sink', 'fence', { podSelector: { matchLabels: { fence: 'yes' } } });
      await cluster().api.apply(fence);
      const reaches: AskFlow = (to, patience) => cluster().reaches(target('open'), target(to), { patience });
      for (const [label, isOpen] of [
        ['yes', false],
        [null, true],
      ] as const) {
        await Promise.all(fences().map(name => cluster().api.label(target(name), { fence: label })));
        await settle(Object.fromEntries(fences().map(name => [name, isOpen])), reaches);
      }
      await cluster().api.delete(fence);
    }

    test("kubelet's probes pass under default-deny, and go on passing", async () => {
      const often = { periodSeconds: 1, failureThreshold: 2, ...patient };
      const container = {
        readinessProbe: { httpGet: { path: '/', port: 80 }, ...often },
        livenessProbe: { tcpSocket: { port: 81 }, ...often },
        startupProbe: { httpGet: { path: '/', port: 'http' }, ...often, failureThreshold: 30 },
      };
      const pod = await cluster().run({ namespace: 'guarded', name: 'probed', container });
      const node = cluster().nodeOf(pod);
      await until('five probes of each kind', async () => {
        const { Liveness = 0, Readiness = 0 } = await probesOf(node, pod);
        return Liveness >= 5 && Readiness >= 5;
      });
      const [now] = await cluster().runAll([{ namespace: 'guarded', name: 'probed', container }]);
      assert.equal(now!.status.containerStatuses![0]!.restartCount, 0);
      assert.equal(await cluster().reaches(target('open'), now!), false, 'default-deny holds all the same');
    });

    test(`${COUNT} pods at once that flood from their first instruction: all Ready, and none leaks`, async () => {
      await heard();
      const remains = await allRemains();
      const visitors = Object.fromEntries(
        ['open', 'shut', 'closed'].map(name => [name, new Visitors(cluster(), target(name))]),
      );
      const words = ['flood', ...['shut', 'closed', 'open'].flatMap(name => [target(name).status.podIP!, '80'])];
      const all = Array.from({ length: COUNT }, (_, i) => ({ namespace: 'flood', name: `flood-${i}`, words }));
      const started = performance.now();
      const floods = await cluster().runAll(all, 480_000);
      console.log(`${COUNT} pods Ready after ${((performance.now() - started) / 1000).toFixed(1)} s`);
      const addresses = new Set(floods.map(({ status }) => status.podIP!));
      assert.equal(addresses.size, COUNT, 'an address each');
      await until('the allowed one to hear from all', () =>
        [...addresses].every(address => visitors['open']!.seen.has(address)),
      );
      for (const name of ['shut', 'closed']) {
        const leaks = [...visitors[name]!.seen].filter(address => addresses.has(address));
        assert.deepEqual(leaks, [], `${name} has heard from these`);
      }
      await cluster().api.deleteAll('/api/v1/namespaces/flood/pods');
      const areGone = async () => (await cluster().api.list('/api/v1/namespaces/flood/pods')).length === 0;
      await until('the pods to be gone', areGone);
      assert.deepEqual(await eventually(remains, allRemains), remains);
      for (const name of ['shut', 'closed']) {
        const leaks = [...visitors[name]!.seen].filter(address => addresses.has(address));
        assert.deepEqual(leaks, [], `${name} has heard from these as they went`);
      }
    });

    test('a pod that was deleted by force stays enforced for as long as it runs', async () => {
      const node = cluster().node;
      const pod = await cluster().run({ namespace: 'guarded', name: 'forced', node: node.name });
      const path = '/api/v1/namespaces/guarded/pods/forced';
      const { tagged } = await remainsOf(node);
      assert.ok(tagged.some(line => line.includes('guarded/forced')));
      // kubelet is held, so that nobody takes the pod out.
      process.kill(node.kubelet.pid, 'SIGSTOP');
      try {
        await cluster().api.delete(pod, 0);
        await until('it to be gone from the API', async () => (await cluster().api.get(path)) === undefined);
        await heard();
        assert.equal(await cluster().reaches(pod, target('open')), false, 'it may not ask');
        assert.equal(await cluster().reaches(target('open'), pod), false, 'nor be asked');
        assert.ok(await node.answers(pod, ANSWER), 'though it runs');
      } finally {
        process.kill(node.kubelet.pid, 'SIGCONT');
      }
      const isThere = async () => (await remainsOf(node)).tagged.some(line => line.includes('guarded/forced'));
      await until('it to be taken out', async () => !(await isThere()));
    });
  });
}
