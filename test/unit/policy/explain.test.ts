import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { parseAddress } from '../../../lib/ip/address.ts';
import { evaluate } from '../../../lib/policy/evaluate/evaluate.ts';
import { explain, matrix } from '../../../lib/policy/evaluate/matrix.ts';
import { type DirectionWalk, walk } from '../../../lib/policy/explain/explain.ts';
import {
  type Direction,
  type Endpoint,
  type Flow,
  formatRule,
  type NetworkPolicy,
  policyRef,
  type RuleRef,
  type World,
} from '../../../lib/policy/model/model.ts';
import { caseOf } from '../../support/policy-cases.ts';
import { manifests, outside, traffic, worldFrom } from '../../support/worlds.ts';

const directions: readonly Direction[] = ['egress', 'ingress'];
const podAt = (pod: World['pods'][number]): Endpoint => ({ kind: 'pod', pod });

/** Some flows of the world, others in each turn: pods among each other, with addresses and with the node. */
function flowsOf(world: World, turn: number): readonly Flow[] {
  const bare = outside.map(address => ({ kind: 'address', address }) as const);
  const ends: readonly Endpoint[] = [...world.pods.map(podAt), ...bare, { kind: 'node' }, { kind: 'node', name: 'n2' }];
  const pairs = ends.flatMap(from => ends.map(to => ({ from, to })));
  return pairs.flatMap(({ from, to }, i) => {
    const { protocol, port } = traffic[(turn + i) % traffic.length]!;
    const fixed = [from, to].find(end => end.kind === 'address');
    const family = fixed ? parseAddress(fixed.address)!.family : (([4, 6, null] as const)[(turn + i) % 3] ?? null);
    return from === to ? [] : [{ from, to, family, protocol, port }];
  });
}

const without = (world: World, policy: NetworkPolicy, instead: readonly NetworkPolicy[]): World => ({
  ...world,
  policies: world.policies.flatMap(each => (each === policy ? instead : [each])),
});

const named = (world: World, ref: string): NetworkPolicy => world.policies.find(each => policyRef(each) === ref)!;

const withoutPolicy = (world: World, ref: string): World => without(world, named(world, ref), []);

function withoutRule(world: World, { policy: ref, direction, index }: RuleRef): World {
  const policy = named(world, ref);
  const kept = policy[direction]!.filter(rule => rule.index !== index);
  assert.ok(kept.length < policy[direction]!.length, `${formatRule({ policy: ref, direction, index })} is not there`);
  return without(world, policy, [{ ...policy, [direction]: kept }]);
}

type Seen = Map<string, number>;
const count = (seen: Seen, what: string): void => void seen.set(what, (seen.get(what) ?? 0) + 1);

/** What a verdict names, taken out, turns it around; and nothing less does. */
function isToBlame(world: World, flow: Flow, way: DirectionWalk, seen: Seen): void {
  const { direction, verdict } = way;
  const judged = (other: World) => evaluate(other, flow)[direction].allowed;
  if (!verdict.isolated) return;
  if (verdict.allowed) {
    assert.equal(judged(verdict.rules.reduce(withoutRule, world)), false, `without its rules: ${verdict.why}`);
    for (const rule of verdict.rules.length > 1 ? verdict.rules : [])
      assert.equal(judged(withoutRule(world, rule)), true, `without one of its rules: ${verdict.why}`);
  } else {
    assert.equal(judged(verdict.by.reduce(withoutPolicy, world)), true, `without its policies: ${verdict.why}`);
    for (const ref of verdict.by.length > 1 ? verdict.by : [])
      assert.equal(judged(withoutPolicy(world, ref)), false, `without one of its policies: ${verdict.why}`);
  }
  count(seen, `${direction} ${verdict.allowed ? 'allowed' : 'denied'}`);
}

function isTrue(world: World, flow: Flow, way: DirectionWalk, seen: Seen): void {
  const { verdict, policies, remedies } = way;
  const matching = policies.flatMap(({ rules }) => rules.filter(({ matches }) => matches));
  assert.deepEqual(
    matching.map(({ rule }) => rule),
    verdict.rules,
  );
  if (verdict.isolated) assert.ok(policies.length > 0);
  for (const { rules } of policies)
    for (const { matches, misfits } of rules) {
      assert.equal(misfits.length === 0, matches);
      for (const { kind } of misfits) count(seen, kind);
    }
  isToBlame(world, flow, way, seen);
  for (const { kind } of remedies) count(seen, `remedy: ${kind}`);
}

test('a walkthrough has the verdict of evaluate, its rules are the matching ones, and what it blames is to blame', () => {
  const seen: Seen = new Map();
  fc.assert(
    fc.property(manifests(), fc.nat(100), (list, turn) => {
      const world = worldFrom(list);
      for (const flow of flowsOf(world, turn)) {
        const way = walk(world, flow);
        assert.deepEqual(way.verdict, evaluate(world, flow));
        for (const direction of directions) {
          assert.deepEqual(way[direction].verdict, way.verdict[direction]);
          isTrue(world, flow, way[direction], seen);
        }
        const [row] = explain(world, flow).filter(({ family }) => family === flow.family);
        if (row) assert.deepEqual([row.allowed, row.egress.why, row.ingress.why], saidBy(way.verdict));
      }
    }),
    { numRuns: 500 },
  );
  const answers = directions.flatMap(direction => [`${direction} allowed`, `${direction} denied`]);
  const kinds = ['label', 'namespace', 'namespace label', 'not a pod', 'no address', 'family', 'outside', 'except'];
  const remedies = ['remedy: port', 'remedy: label', 'remedy: rule'];
  // The rarest come up some 50 times, and by chance also less than 20 times.
  for (const what of [...answers, ...kinds, 'protocol', 'port', 'port name', ...remedies])
    assert.ok((seen.get(what) ?? 0) >= 5, `${what} came up ${seen.get(what) ?? 0} times`);
});

test('the matrix is evaluate, pair by pair and family by family', () => {
  fc.assert(
    fc.property(manifests(), fc.constantFrom(...traffic), (list, what) => {
      const world = worldFrom(list);
      const find = (text: string) => podAt(world.pods.find(({ namespace, name }) => `${namespace}/${name}` === text)!);
      for (const { from, to, family, allowed, egress, ingress } of matrix(world, what)) {
        const verdict = evaluate(world, { from: find(from), to: find(to), family, ...what });
        assert.deepEqual([allowed, egress.why, ingress.why], saidBy(verdict));
        assert.deepEqual([egress.by, ingress.by], [verdict.egress.by, verdict.ingress.by]);
      }
    }),
    { numRuns: 200 },
  );
});

const saidBy = ({ allowed, egress, ingress }: ReturnType<typeof evaluate>) => [allowed, egress.why, ingress.why];

/** Each: a policy of a/p, a flow, the kind of misfit and what is said of it. */
const misfits: readonly (readonly [string, Flow['protocol'], number, string, string, RegExp])[] = [
  [
    'ingress: [{ from: [{ podSelector: { matchLabels: { app: x } } }] }]',
    'TCP',
    80,
    'a/q',
    'label',
    /a\/q has app=q, and app=x is asked for/,
  ],
  [
    'ingress: [{ from: [{ podSelector: { matchLabels: { env: x } } }] }]',
    'TCP',
    80,
    'a/q',
    'label',
    /a\/q has no label env/,
  ],
  [
    'ingress: [{ from: [{ podSelector: {} }] }]',
    'TCP',
    80,
    'b/one',
    'namespace',
    /namespace b, and without a namespaceSelector/,
  ],
  [
    'ingress: [{ from: [{ namespaceSelector: { matchLabels: { team: blue } } }] }]',
    'TCP',
    80,
    'a/q',
    'namespace label',
    /namespace a has team=red/,
  ],
  [
    'ingress: [{ from: [{ namespaceSelector: {} }] }]',
    'TCP',
    80,
    '203.0.113.9',
    'not a pod',
    /203\.0\.113\.9 is no pod to selectors/,
  ],
  ['ingress: [{ from: [{ namespaceSelector: {} }] }]', 'TCP', 80, 'a/host', 'not a pod', /only an ipBlock can mean it/],
  [
    'ingress: [{ from: [{ ipBlock: { cidr: "fd00::/64" } }] }]',
    'TCP',
    80,
    '203.0.113.9',
    'family',
    /IPv4, and the block is IPv6/,
  ],
  [
    'ingress: [{ from: [{ ipBlock: { cidr: 10.0.0.0/8 } }] }]',
    'TCP',
    80,
    '203.0.113.9',
    'outside',
    /not in 10\.0\.0\.0\/8/,
  ],
  [
    'ingress: [{ from: [{ ipBlock: { cidr: 10.0.0.0/8, except: [10.1.0.0/16] } }] }]',
    'TCP',
    80,
    'b/one',
    'except',
    /10\.1\.2\.5 is in 10\.1\.0\.0\/16/,
  ],
  [
    'ingress: [{ ports: [{ protocol: UDP, port: 80 }] }]',
    'TCP',
    80,
    'a/q',
    'protocol',
    /it is TCP 80, and UDP is meant/,
  ],
  ['ingress: [{ ports: [{ port: 81, endPort: 90 }] }]', 'TCP', 80, 'a/q', 'port', /TCP 81-90 is meant/],
  ['ingress: [{ ports: [{ port: http }] }]', 'TCP', 81, 'a/q', 'port name', /http is 80 on a\/p, not 81/],
  [
    'ingress: [{ ports: [{ port: dns }] }]',
    'TCP',
    81,
    'a/q',
    'port name',
    /a\/p has no container port named dns for TCP/,
  ],
];

for (const [policy, protocol, port, from, kind, says] of misfits)
  test(`a rule that does not fit ${from} says so: ${says.source}`, () => {
    const { world } = caseOf(policy);
    const find = (text: string) => world.pods.find(({ namespace, name }) => `${namespace}/${name}` === text);
    const pod = find(from);
    const end: Endpoint = pod ? podAt(pod) : { kind: 'address', address: from };
    const way = walk(world, { from: end, to: podAt(find('a/p')!), family: 4, protocol, port });
    const [misfit] = way.ingress.policies[0]!.rules[0]!.misfits;
    assert.equal(misfit!.kind, kind);
    assert.match(misfit!.says, says);
  });

test('a walkthrough tells of policies that have no say, and why', () => {
  const { world } = caseOf('policyTypes: [Egress]', 'podSelector: { matchLabels: { app: zz } }');
  const [p, q] = ['p', 'q'].map(name => world.pods.find(pod => pod.namespace === 'a' && pod.name === name)!);
  const way = walk(world, { from: podAt(q!), to: podAt(p!), family: 4, protocol: 'TCP', port: 80 });
  assert.equal(way.ingress.verdict.isolated, false);
  assert.deepEqual(way.ingress.bystanders, [
    { policy: 'NetworkPolicy/a/p0', why: 'it does not isolate for ingress' },
    { policy: 'NetworkPolicy/a/p1', why: 'a/p has app=p, and app=zz is asked for' },
  ]);
});

test('remedies: of very many peers the first are tried, and a rule of its own all the same', () => {
  const peers = Array.from({ length: 400 }, (_, i) => `{ podSelector: { matchLabels: { app: x${i} } } }`);
  const { world } = caseOf(`ingress: [{ from: [${peers.join(', ')}] }]`);
  const [p, q] = ['p', 'q'].map(name => world.pods.find(pod => pod.namespace === 'a' && pod.name === name)!);
  const { remedies } = walk(world, { from: podAt(q!), to: podAt(p!), family: 4, protocol: 'TCP', port: 80 }).ingress;
  assert.equal(remedies.length, 33);
  assert.deepEqual([remedies[0]!.says.slice(0, 18), remedies[32]!.kind], ['Label a/q app=x0: ', 'rule']);
});

test('remedies: the missing port, the missing label, and a rule of its own, each of which helps', () => {
  const onlyX = 'ingress: [{ from: [{ podSelector: { matchLabels: { app: x } } }], ports: [{ port: 80 }] }]';
  const { world } = caseOf(onlyX, 'ingress: [{ from: [{ podSelector: {} }], ports: [{ port: 81 }] }]');
  const [p, q] = ['p', 'q'].map(name => world.pods.find(pod => pod.namespace === 'a' && pod.name === name)!);
  const flow = { from: podAt(q!), to: podAt(p!), family: 4, protocol: 'TCP', port: 80 } as const;
  const { remedies } = walk(world, flow).ingress;
  assert.deepEqual(
    remedies.map(({ kind, says, add }) => ({ kind, says, add })),
    [
      {
        kind: 'port',
        says: 'Add TCP 80 to the ports of NetworkPolicy/a/p1 ingress[0]',
        add: { protocol: 'TCP', port: 80 },
      },
      { kind: 'label', says: 'Label a/q app=x: then NetworkPolicy/a/p0 ingress[0] allows it', add: undefined },
      {
        kind: 'rule',
        says: 'Add to the ingress rules of NetworkPolicy/a/p0',
        add: { from: [{ podSelector: { matchLabels: { app: 'q' } } }], ports: [{ protocol: 'TCP', port: 80 }] },
      },
    ],
  );
});
