/** Services under policy: who reaches what through a cluster address, a node's port and a hostPort, and as whom. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { nodePlace, outside } from './addresses.ts';
import type { KubeObject } from './api.ts';
import { type KubeCluster, policyOf } from './cluster.ts';
import { ANSWER, type AskFlow, settle, type Verdicts } from './patience.ts';
import type { ProxyMode } from './proxy.ts';
import { type Found, ServiceWorld } from './service-world.ts';

const namespace = 'services';

const everyone = { podSelector: {} };
const toAll = (name: string, from?: readonly object[]): KubeObject =>
  policyOf(namespace, name, { ...everyone, policyTypes: ['Ingress'], ...(from ? { ingress: [{ from }] } : {}) });
const fromClient = (to: readonly object[]): KubeObject =>
  policyOf(namespace, 'from-client', {
    podSelector: { matchLabels: { app: 'client' } },
    policyTypes: ['Egress'],
    egress: [{ to }],
  });
const app = (name: string) => ({ podSelector: { matchLabels: { app: name } } });
const block = (cidr: string) => ({ ipBlock: { cidr } });

interface Case {
  readonly name: string;
  readonly policies: (world: ServiceWorld) => readonly KubeObject[];
  /** `client → web`, and whether it is answered, by TCP and UDP, in both families. */
  readonly expected: Verdicts;
}

const cases: readonly Case[] = [
  {
    name: 'without a policy every way is open, hairpin too',
    policies: () => [],
    expected: {
      'client → pod solo': true,
      'client → web': true,
      'client → sticky': true,
      'stranger → solo': true,
      'solo → solo': true,
      'client → web@node1': true,
      'client → solo@node2': true,
      'client → hostPort@node1': true,
      'solo → hostPort@node1': true,
      'stranger → hostPort@node1': true,
      'node1 → web': true,
      'node2 → solo': true,
      'node1 → web@node2': true,
      'outside → web@node1': true,
      'outside → web@node2': true,
      'outside → local@node1': true,
      'outside → local@node2': false,
      'outside → hostPort@node1': true,
    },
  },
  {
    name: 'default-deny closes every way but the pod to itself, and its node to it',
    policies: () => [toAll('deny')],
    expected: {
      'client → pod solo': false,
      'client → web': false,
      'client → sticky': false,
      'stranger → solo': false,
      'solo → solo': true,
      'client → solo@node1': false,
      'client → solo@node2': false,
      'client → hostPort@node1': false,
      'node1 → solo': true,
      'node2 → solo': false,
      'outside → web@node1': false,
      'outside → solo@node1': false,
      'outside → solo@node2': false,
      'outside → local@node1': false,
      'outside → hostPort@node1': false,
    },
  },
  {
    name: 'allowed by label, through each kind of Service that keeps the source',
    policies: () => [toAll('deny'), toAll('clients', [app('client')])],
    expected: {
      'client → pod solo': true,
      'client → web': true,
      'client → solo@node1': true,
      'client → hostPort@node1': true,
      'stranger → web': false,
      'stranger → solo': false,
      'outside → solo@node1': false,
    },
  },
  {
    name: 'ipBlock of clients outside holds wherever the address is theirs when it comes to the pod',
    policies: () => [toAll('outside', [block(`${outside.v4}/32`), block(`${outside.v6}/128`)])],
    expected: {
      'outside → solo@node1': true,
      'outside → local@node1': true,
      'outside → hostPort@node1': true,
      // The other node asks in its own name: by Kubernetes' rules for externalTrafficPolicy Cluster.
      'outside → solo@node2': false,
      'client → solo': false,
      'client → hostPort@node1': false,
    },
  },
  {
    name: 'ipBlock of a node lets in what that node forwards in its own name',
    policies: () => [toAll('node2', [block(`${nodePlace(2).v4}/32`), block(`${nodePlace(2).v6}/128`)])],
    expected: { 'outside → solo@node2': true, 'outside → solo@node1': false, 'node2 → solo': true },
  },
  {
    name: 'egress is judged by the pod behind the Service',
    policies: () => [fromClient([app('web')])],
    expected: {
      'client → web': true,
      'client → sticky': true,
      'client → solo': false,
      'client → pod solo': false,
      'client → hostPort@node1': false,
      'stranger → solo': true,
    },
  },
  {
    name: "egress by ipBlock of a Service's address allows nothing: policy is after translation",
    policies: world => [
      fromClient([block(`${world.clusterIP('solo', 4)}/32`), block(`${world.clusterIP('solo', 6)}/128`)]),
    ],
    expected: { 'client → solo': false, 'client → pod solo': false },
  },
  {
    name: 'egress by ipBlock of the pod allows the Service before it',
    policies: world => [
      fromClient([block(`${world.address('solo', 4)}/32`), block(`${world.address('solo', 6)}/128`)]),
    ],
    expected: { 'client → solo': true, 'client → pod solo': true, 'client → web': false },
  },
];

/** As whom a pod behind a Service sees the one who asks; `itself`: by its own address. */
const sources: Readonly<Record<string, 'itself' | 'the node'>> = {
  'client → pod web-2': 'itself',
  'client → web': 'itself',
  'stranger → solo': 'itself',
  'client → hostPort@node1': 'itself',
  'outside → local@node1': 'itself',
  'outside → hostPort@node1': 'itself',
  'outside → solo@node2': 'the node',
};

const seen = (found: readonly Found[]): string =>
  found.map(({ way, answer }) => `${way} ${answer ? `${answer.name} saw ${answer.seen}` : 'nothing'}`).join(', ');

/** True: all ways are open; false: all are closed; else which are open. */
const verdict = (found: readonly Found[]): boolean | string => {
  const open = found.filter(({ answer }) => answer !== undefined);
  return open.length === found.length ? true : open.length === 0 ? false : `${open.map(({ way }) => way)} alone`;
};

export function services(cluster: () => KubeCluster, mode: ProxyMode): void {
  suite(`Services by kube-proxy with ${mode}`, () => {
    let world: ServiceWorld;
    before(async () => {
      for (const node of cluster().nodes.values()) if (node.proxyMode !== mode) await node.startProxy(mode);
      world = await ServiceWorld.start(cluster());
    });
    after(async () => {
      world?.[Symbol.dispose]();
      await cluster().deleteNamespace(namespace);
    });

    const last = new Map<string, readonly Found[]>();
    async function ask(flow: string, patience: number): Promise<readonly Found[]> {
      const [from, to] = flow.split(' → ');
      const answers = await world.ask(from!, to!, patience);
      last.set(flow, answers);
      return answers;
    }
    const judged: AskFlow = async (flow, patience) => verdict(await ask(flow, patience));
    /** Where no policy is in force. */
    const open = Object.fromEntries(Object.keys(sources).map(flow => [flow, true]));

    for (const { name, policies, expected } of cases) {
      test(name, async t => {
        const { api } = cluster();
        const all = policies(world);
        await Promise.all(all.map(async policy => await api.apply(policy)));
        try {
          await settle(expected, judged);
          for (const flow of Object.keys(expected)) t.diagnostic(`${flow}: ${seen(last.get(flow)!)}`);
        } finally {
          await Promise.all(all.map(async policy => await api.delete(policy)));
        }
        // What the next ones find shut, their own policies have shut; and a datagram is not sent twice.
        await settle(open, judged);
      });
    }

    test('pods see who asks: by its own address, but for what another node forwards in its own name', async t => {
      for (const [flow, as] of Object.entries(sources)) {
        const [from = ''] = flow.split(' → ');
        const answers = await ask(flow, ANSWER);
        t.diagnostic(`${flow}: ${seen(answers)}`);
        for (const { way, answer } of answers) {
          const family = way.endsWith('4') ? 4 : 6;
          const place = from === 'outside' ? outside : undefined;
          const own = place ? (family === 4 ? place.v4 : place.v6) : world.address(from, family);
          const node = family === 4 ? nodePlace(2).v4 : nodePlace(2).v6;
          assert.equal(answer?.seen, as === 'itself' ? own : node, `${flow} by ${way}`);
        }
      }
    });

    test('a Service spreads over both nodes, and with session affinity a client keeps its pod', async t => {
      const askOften = async (service: string) => {
        const answers = await Promise.all(
          Array.from({ length: 40 }, () => world.askOnce('client', service, 4, ANSWER)),
        );
        return [...new Set(answers.map(answer => answer?.name))].sort();
      };
      const spread = await askOften('web');
      const sticky = await askOften('sticky');
      t.diagnostic(`40 requests: web ${spread}, sticky ${sticky}`);
      assert.deepEqual(spread, ['web-1', 'web-2']);
      assert.equal(sticky.length, 1);
    });
  });
}
