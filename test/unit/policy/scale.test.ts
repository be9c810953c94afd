/** What questions about policies cost, as the objects of the question grow: counted in reads, which no other load changes. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { parsePrefix } from '../../../lib/ip/address.ts';
import { compile } from '../../../lib/policy/compile/compile.ts';
import { LiveRules } from '../../../lib/policy/compile/live.ts';
import { missingIn } from '../../../lib/policy/compile/members.ts';
import type { Tuple } from '../../../lib/policy/compile/ruleset.ts';
import { diff } from '../../../lib/policy/explain/diff.ts';
import { odditiesOf } from '../../../lib/policy/lint/lint.ts';
import { Coverage, pointless } from '../../../lib/policy/lint/pointless.ts';
import { Surroundings } from '../../../lib/policy/lint/surroundings.ts';
import { readManifests } from '../../../lib/policy/manifest/manifest.ts';
import { MOST_PORTS } from '../../../lib/policy/manifest/pod.ts';
import type {
  BlockPeer,
  NetworkPolicy,
  Pod,
  PodPeer,
  PolicyRule,
  Port,
  World,
} from '../../../lib/policy/model/model.ts';
import { countReads } from '../../support/counted-reads.ts';

const times = <T>(number: number, make: (i: number) => T): readonly T[] =>
  Array.from({ length: number }, (_, i) => make(i));
const labelled = (key: string, value: string) => ({
  requirements: [{ key, operator: 'In' as const, values: [value] }],
});

const pod = (i: number, given: Partial<Pod> = {}): Pod => ({
  namespace: 'a',
  name: `p${i}`,
  labels: new Map([['app', `app${i}`]]),
  addresses: [`10.${(i >> 8) & 255}.${i & 255}.1`],
  namedPorts: [],
  hostNetwork: false,
  finished: false,
  ...given,
});

const block = (i: number, holes: number): BlockPeer => ({
  kind: 'block',
  cidr: parsePrefix(`192.${(i >> 8) & 255}.${i & 255}.0/24`)!,
  except: times(holes, j => parsePrefix(`192.${(i >> 8) & 255}.${i & 255}.${2 * j}/32`)!),
});

const podPeer = (i: number): PodPeer => ({ kind: 'pods', namespace: 'a', pods: labelled('app', `app${i}`) });
const rule = (index: number, given: Partial<PolicyRule>): PolicyRule => ({
  index,
  peers: 'any',
  ports: 'any',
  ...given,
});
const policy = (i: number, given: Partial<NetworkPolicy>): NetworkPolicy => ({
  kind: 'NetworkPolicy',
  namespace: 'a',
  name: `np${i}`,
  subject: { requirements: [] },
  ...given,
});

const worldWith = (pods: readonly Pod[], policies: readonly NetworkPolicy[]): World => ({
  namespaces: new Map(),
  pods,
  policies,
});

const numbered = (i: number): Port => ({ protocol: 'TCP', first: 1000 + 2 * i, last: 1000 + 2 * i });

const growing: readonly (readonly [what: string, world: (size: number) => World])[] = [
  [
    'blocks',
    size => worldWith([pod(0)], [policy(0, { ingress: [rule(0, { peers: times(size, i => block(i, 0)) })] })]),
  ],
  [
    'blocks with holes',
    size => worldWith([pod(0)], [policy(0, { ingress: [rule(0, { peers: times(size, i => block(i, 5)) })] })]),
  ],
  [
    'rules that have one block with a hole each',
    size =>
      worldWith(
        [pod(0)],
        [policy(0, { ingress: times(size, i => rule(i, { peers: [block(i, 1)], ports: [numbered(0)] })) })],
      ),
  ],
  [
    'blocks of two policies, each as large as the other',
    size =>
      worldWith(
        [pod(0)],
        times(2, n =>
          policy(n, { ingress: [rule(0, { peers: times(size, i => block(i, 2)), ports: [numbered(n)] })] }),
        ),
      ),
  ],
  [
    'blocks and pods',
    size => worldWith(times(size, pod), [policy(0, { egress: [rule(0, { peers: times(size, i => block(i, 1)) })] })]),
  ],
  [
    'pod peers and pods',
    size => worldWith(times(size, pod), [policy(0, { ingress: [rule(0, { peers: times(size, podPeer) })] })]),
  ],
  [
    'ports by name',
    size =>
      worldWith(
        [pod(0, { namedPorts: times(size, i => ({ name: `x${i}`, protocol: 'TCP', port: i + 1 })) })],
        [policy(0, { ingress: [rule(0, { ports: times(size, i => ({ protocol: 'TCP', name: `x${i}` })) })] })],
      ),
  ],
  [
    'ports by name, on the way out',
    size =>
      worldWith(
        times(size, i => pod(i, { namedPorts: [{ name: 'dns', protocol: 'UDP', port: 53 }] })),
        [policy(0, { egress: [rule(0, { ports: times(size, i => ({ protocol: 'UDP', name: `x${i}` })) })] })],
      ),
  ],
  [
    'policies for one pod each',
    size =>
      worldWith(
        times(20, pod),
        times(size, i => policy(i, { subject: labelled('app', `app${i}`), ingress: [rule(0, {})] })),
      ),
  ],
];

suite('lint of four times as many objects costs hardly more than four times as much', () => {
  for (const [what, worldOfSize] of growing)
    test(`of ${what}`, () => {
      const cost = (size: number): number => {
        const { value: world, reads } = countReads(worldOfSize(size));
        const declared = world.policies.map(each => ({
          ref: `NetworkPolicy/a/${each.name}`,
          source: { file: '', document: 0 },
          path: 'metadata.name',
          object: { kind: 'NetworkPolicy', policy: each } as const,
        }));
        odditiesOf(declared, world, 'cluster');
        return reads();
      };
      const [small, large] = [cost(100), cost(400)];
      assert.ok(large < 6 * small, `${small} reads grew to ${large}`);
    });
});

/** Policies of one namespace, of which each may or may not allow all that another one does. */
const crowds: readonly (readonly [what: string, one: (i: number) => NetworkPolicy])[] = [
  ['allow one peer each to the same pods', i => policy(i, { ingress: [rule(0, { peers: [podPeer(i)] })] })],
  ['allow one block each to the same pods', i => policy(i, { ingress: [rule(0, { peers: [block(i, 1)] })] })],
  [
    'allow one and the same peer to one pod each',
    i => policy(i, { subject: labelled('app', `app${i}`), ingress: [rule(0, { peers: [podPeer(0)] })] }),
  ],
  ['are equal', i => policy(i, { ingress: [rule(0, { peers: [podPeer(0)] })] })],
  ['allow nothing', i => policy(i, { ingress: [] })],
  [
    'allow one port more each',
    i => policy(i, { ingress: [rule(0, { ports: [{ protocol: 'TCP', first: 1, last: i + 1 }] })] }),
  ],
];

suite('whether a policy is pointless is asked of hardly more than four times as many pairs of four times as many policies', () => {
  for (const [what, one] of crowds)
    test(`that ${what}`, () => {
      const cost = (size: number): number => {
        const coverage = new Coverage();
        const around = new Surroundings(worldWith([], times(size, one)), 'cluster');
        const check = pointless(around, coverage);
        for (const each of around.policies) check({ policy: each, around, subjects: [], report: () => {} });
        return coverage.asked;
      };
      const [small, large] = [cost(200), cost(800)];
      assert.ok(large <= 6 * small, `${small} pairs grew to ${large}`);
    });
});

const inTeam = { requirements: [{ key: 'team', operator: 'In' as const, values: ['x'] }] };

/** What it costs to bring about a change, once all else is in force. */
const changes: readonly (readonly [what: string, cost: (size: number) => number])[] = [
  [
    'a namespace is relabelled whose pods thousands of peers may mean',
    size => {
      const peers = times(size, (i): PodPeer => ({ ...podPeer(i), namespace: inTeam }));
      const { value, reads } = countReads(policy(0, { ingress: [rule(0, { peers })] }));
      const live = new LiveRules();
      live.setPolicy(value);
      for (let i = 0; i < size; i++) live.setPod(pod(i, { namespace: 'b' }));
      live.setIdentities([{ tag: 1, identity: { namespace: 'a', labels: new Map(), namedPorts: [] } }]);
      live.take();
      const before = reads();
      live.setNamespace('b', new Map([['team', 'x']]));
      const [set] = live.take()!.after.sets.values();
      assert.equal(set!.elements.length, size);
      return reads() - before;
    },
  ],
  [
    'a pod changes all the numbers of its ports',
    size => {
      const elements = (first: number) =>
        countReads(
          times(size, (i): Tuple => ({ address: { family: 4, value: 1n }, protocol: 'TCP', port: first + i })),
        );
      const [held, holds] = [elements(1), elements(1 + size / 2)];
      assert.equal(missingIn(held.value, holds.value).length, size / 2);
      return held.reads() + holds.reads();
    },
  ],
  [
    'policies name all the ports that a pod names',
    size => {
      const namedPorts = times(size, i => ({ name: `x${i}`, protocol: 'TCP', port: i + 1 }));
      const { value, reads } = countReads({ namedPorts });
      const ports = times(size, (i): Port => ({ protocol: 'TCP', name: `x${i}` }));
      const world = worldWith(
        [pod(0, value)],
        [policy(0, { ingress: [rule(0, { ports })], egress: [rule(0, { ports })] })],
      );
      compile(world, [{ tag: 1, identity: { namespace: 'a', labels: new Map(), namedPorts: value.namedPorts } }]);
      return reads();
    },
  ],
];

suite('a change of four times as many objects costs hardly more than four times as much', () => {
  for (const [what, cost] of changes)
    test(`where ${what}`, () => {
      const [small, large] = [cost(100), cost(400)];
      assert.ok(large < 6 * small, `${small} reads grew to ${large}`);
    });
});

/** Pods that have nothing in common, but that a fifth of them bears one label more. */
const strangers = (size: number): readonly Pod[] =>
  times(size, i =>
    pod(i, {
      labels: new Map([
        ['app', `app${i}`],
        ['tier', i % 5 === 0 ? 'web' : 'other'],
      ]),
    }),
  );
const isolating = (tier: string): NetworkPolicy =>
  policy(0, { subject: labelled('tier', tier), ingress: [rule(0, { peers: [podPeer(7)], ports: [numbered(0)] })] });

suite('what a policy changes that comes to select a fifth of all pods', () => {
  test('costs hardly more than four times as much with four times as many pods, whatever labels each has', () => {
    const cost = (size: number) => {
      const { value, reads } = countReads(strangers(size));
      const [before, after] = ['nobody', 'web'].map(tier => worldWith(value, [isolating(tier)]));
      const { changes } = diff(before!, after!);
      return { read: reads(), told: changes.length };
    };
    const [small, large] = [cost(100), cost(400)];
    assert.ok(large.read < 6 * small.read, `${small.read} reads grew to ${large.read}`);
    assert.equal(large.told, small.told, 'a change for each sort of ends, not for each pod');
  });

  test('asks each pair once where policies tell all pods apart, and what others select is not read for it', () => {
    const cost = (size: number): number => {
      const own = times(size, i =>
        policy(i + 1, { subject: labelled('app', `app${i}`), ingress: [rule(0, { peers: [podPeer(i + 1)] })] }),
      );
      const { value, reads } = countReads(own);
      const pods = strangers(size);
      const [before, after] = ['nobody', 'web'].map(tier => worldWith(pods, [isolating(tier), ...value]));
      diff(before!, after!);
      return reads();
    };
    const [small, large] = [cost(25), cost(100)];
    assert.ok(large < 20 * small, `${small} reads grew to ${large}`);
  });
});

test('the first thousand ports of a pod count by their names, and who declares more is told', () => {
  const ports = times(20_000, i => ({ name: `x${i % 10_000}`, containerPort: (i % 60_000) + 1 }));
  const value = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p' }, spec: { containers: [{ ports }] } };
  const { world, problems } = readManifests([{ file: 'f', document: 0, value }]);
  assert.equal(world.pods[0]!.namedPorts.length, MOST_PORTS);
  assert.deepEqual(
    problems.map(({ severity, field }) => [severity, field]),
    [['error', 'spec.containers']],
  );
  assert.match(problems[0]!.message, /20000 ports with a name.*first 1000/);
});
