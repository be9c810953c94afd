import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { type Family, parseAddress, parsePrefix, rangeContains, rangeOf } from '../../../lib/ip/address.ts';
import { evaluate } from '../../../lib/policy/evaluate/evaluate.ts';
import { sharedFamilies } from '../../../lib/policy/evaluate/matrix.ts';
import { AddressClasses, portClasses, rangeText } from '../../../lib/policy/explain/classes.ts';
import { type Change, diff } from '../../../lib/policy/explain/diff.ts';
import { type Endpoint, policyRef, type World } from '../../../lib/policy/model/model.ts';
import { clusterPolicy, clusterWorld, networkPolicy } from '../../support/cluster-world.ts';
import { caseOf } from '../../support/policy-cases.ts';
import { type Manifest, manifests, outside, traffic, worldFrom } from '../../support/worlds.ts';

/** Ports at and beside the edges of what the generated policies name. */
const probes = [
  ...traffic,
  ...[1, 49, 50, 52, 54, 79, 82, 8079, 8081, 9000, 9001, 65535].map(port => ({ protocol: 'TCP', port }) as const),
  { protocol: 'UDP', port: 54 } as const,
];

const alive = ({ pods }: World) =>
  new Map(pods.filter(({ finished }) => !finished).map(pod => [`${pod.namespace}/${pod.name}`, pod]));

interface End {
  readonly name: string;
  readonly before: Endpoint;
  readonly after: Endpoint;
}

function endsOf(before: World, after: World): readonly End[] {
  const later = alive(after);
  const pods = [...alive(before)].flatMap(([name, pod]): End[] => {
    const now = later.get(name);
    return now ? [{ name, before: { kind: 'pod', pod }, after: { kind: 'pod', pod: now } }] : [];
  });
  const bare = [...outside, '10.0.0.200', '203.0.113.1', '0.0.0.0', '255.255.255.255', 'fd00::ff', '::', 'ffff::1'];
  const addresses = bare.map(address => ({ kind: 'address', address }) as const);
  return [
    ...pods,
    ...addresses.map(end => ({ name: end.address, before: end, after: end })),
    { name: 'node', before: { kind: 'node' }, after: { kind: 'node' } },
  ];
}

/** Whether one of the names is this end, or a range around it. */
function isAmong(names: readonly string[], { name }: End): boolean {
  if (names.includes(name)) return true;
  const address = parseAddress(name);
  if (!address) return false;
  return names.some(text => {
    const prefix = parsePrefix(text);
    if (prefix) return rangeContains(rangeOf(prefix), address);
    const [first, last] = text.split('-').map(each => parseAddress(each));
    if (!first || !last) return false;
    return rangeContains({ family: first.family, first: first.value, last: last.value }, address);
  });
}

const saysOf = (
  changes: readonly Change[],
  [from, to]: readonly [End, End],
  family: Family | null,
  { protocol, port }: (typeof probes)[number],
): readonly Change[] =>
  changes.filter(
    change =>
      isAmong(change.from, from) &&
      isAmong(change.to, to) &&
      change.families.includes(family) &&
      change.traffic.some(
        each => each.protocol === protocol && each.ports.some(({ first, last }) => first <= port && port <= last),
      ),
  );

/** What is to blame is there: new policies and rules in the new world, old ones in the old. */
function isNamed(before: World, after: World, { because, change }: Change): void {
  for (const { policy, effect, rule, direction } of because) {
    const world = effect === 'allows' || effect === 'isolates' ? after : before;
    const found = world.policies.find(each => policyRef(each) === policy);
    assert.ok(found?.[direction], `${policy} has no say in ${direction}`);
    assert.equal(effect === 'allows' || effect === 'isolated', change === 'opens');
    if (rule !== undefined) assert.ok(found[direction].some(({ index }) => index === rule));
  }
}

interface Counts {
  opens: number;
  closes: number;
  same: number;
}

function isExact(before: World, after: World, counts: Counts, enforceEgressToNode: boolean): void {
  const options = { enforceEgressToNode };
  const { changes } = diff(before, after, options);
  for (const change of changes) isNamed(before, after, change);
  const ends = endsOf(before, after);
  for (const from of ends)
    for (const to of ends) {
      if (from === to || (from.before.kind !== 'pod' && to.before.kind !== 'pod')) continue;
      const later = sharedFamilies(from.after, to.after);
      for (const family of sharedFamilies(from.before, to.before).filter(each => later.includes(each)))
        for (const probe of probes) {
          const old = evaluate(before, { from: from.before, to: to.before, family, ...probe }, options).allowed;
          const now = evaluate(after, { from: from.after, to: to.after, family, ...probe }, options).allowed;
          const said = saysOf(changes, [from, to], family, probe);
          const wanted = old === now ? [] : [now ? 'opens' : 'closes'];
          const what = `${from.name} to ${to.name}, ${probe.protocol} ${probe.port}, family ${family}`;
          assert.deepEqual(
            said.map(({ change }) => change),
            wanted,
            what,
          );
          counts[old === now ? 'same' : now ? 'opens' : 'closes']++;
        }
    }
}

const isPolicy = ({ kind }: Manifest): boolean => kind === 'NetworkPolicy';

test('diff() is the difference of two evaluations, flow by flow, where policies alone change', () => {
  const counts = { opens: 0, closes: 0, same: 0 };
  fc.assert(
    fc.property(manifests({ policies: 3 }), manifests({ policies: 3 }), fc.boolean(), (list, other, toNode) => {
      const changed = [...list.filter(each => !isPolicy(each)), ...other.filter(isPolicy)];
      isExact(worldFrom(list), worldFrom(changed), counts, toNode);
    }),
    { numRuns: 80 },
  );
  for (const [what, count] of Object.entries(counts)) assert.ok(count > 1000, `${what}: ${count}`);
});

test('diff() is exact also where pods, labels, addresses and namespaces change', () => {
  const counts = { opens: 0, closes: 0, same: 0 };
  fc.assert(
    fc.property(manifests({ policies: 3 }), manifests({ policies: 3 }), (list, other) => {
      isExact(worldFrom(list), worldFrom(other), counts, false);
    }),
    { numRuns: 150 },
  );
  for (const [what, count] of Object.entries(counts)) assert.ok(count > 300, `${what}: ${count}`);
});

test('diff() of a world with itself is empty, and pods that only one world has are named', () => {
  fc.assert(
    fc.property(manifests(), list => {
      const world = worldFrom(list);
      assert.deepEqual(diff(world, worldFrom(list)), { changes: [], onlyBefore: [], onlyAfter: [] });
      const [pod] = alive(world).keys();
      const fewer = { ...world, pods: world.pods.filter(({ namespace, name }) => `${namespace}/${name}` !== pod) };
      assert.deepEqual(diff(world, fewer).onlyBefore, pod === undefined ? [] : [pod]);
      assert.deepEqual(diff(fewer, world).onlyAfter, pod === undefined ? [] : [pod]);
    }),
    { numRuns: 100 },
  );
});

test('diff() merges what is alike and says because of what', () => {
  const allow =
    'ingress: [{ from: [{ podSelector: { matchLabels: { app: q } } }, { podSelector: { matchLabels: { app: prod } } }], ports: [{ port: 80 }, { port: 443, endPort: 445 }] }]';
  const { changes } = diff(caseOf('ingress: []').world, caseOf(allow).world);
  assert.deepEqual(changes, [
    {
      change: 'opens',
      from: ['a/prod', 'a/q'],
      to: ['a/p'],
      families: [4, 6],
      traffic: [
        {
          protocol: 'TCP',
          ports: [
            { first: 80, last: 80 },
            { first: 443, last: 445 },
          ],
        },
      ],
      because: [{ direction: 'ingress', policy: 'NetworkPolicy/a/p0', effect: 'allows', rule: 0 }],
      why: 'NetworkPolicy/a/p0 ingress[0] allows it',
    },
  ]);
});

test('diff() tells of everybody outside as ranges, cut where blocks begin and end', () => {
  const block =
    'ingress: [{ from: [{ ipBlock: { cidr: 192.0.2.0/24, except: [192.0.2.64/26] } }], ports: [{ protocol: UDP }] }]';
  const { changes } = diff(caseOf('ingress: []').world, caseOf(block).world);
  assert.deepEqual(
    changes.map(({ from, to, traffic: what }) => ({ from, to, what })),
    [
      {
        from: ['192.0.2.0/26', '192.0.2.128/25'],
        to: ['a/p'],
        what: [{ protocol: 'UDP', ports: [{ first: 0, last: 65535 }] }],
      },
    ],
  );
});

test('diff() tells of all whom the same ends reach together, outside as well', () => {
  const block =
    'policyTypes: [Egress]\negress: [{ to: [{ ipBlock: { cidr: 192.0.2.0/24, except: [192.0.2.64/26] } }, { podSelector: { matchLabels: { app: q } } }, { podSelector: { matchLabels: { app: prod } } }] }]';
  const { changes } = diff(caseOf('policyTypes: [Egress]').world, caseOf(block).world);
  const told = changes.filter(({ families }) => families.includes(4)).flatMap(({ to }) => [to]);
  assert.ok(
    told.some(to => to.includes('192.0.2.0/26') && to.includes('192.0.2.128/25')),
    JSON.stringify(told),
  );
  assert.ok(
    told.some(to => to.includes('a/prod') && to.includes('a/q')),
    JSON.stringify(told),
  );
});

test('diff() says who isolates where there was no policy, and who no longer does', () => {
  const [open, closed] = [
    caseOf('podSelector: { matchLabels: { app: nobody } }').world,
    caseOf('policyTypes: [Egress]').world,
  ];
  assert.deepEqual(
    [...new Set(diff(open, closed).changes.map(({ change, why }) => `${change}: ${why}`))],
    ['closes: NetworkPolicy/a/p0 isolates for egress, and no rule allows it'],
  );
  assert.deepEqual(
    [...new Set(diff(closed, open).changes.map(({ change, why }) => `${change}: ${why}`))],
    ['opens: NetworkPolicy/a/p0 no longer isolates for egress'],
  );
});

test('diff() does not say of a policy that it isolates no longer, where a cluster policy is asked before it', () => {
  const deny = networkPolicy('shop/deny', 'policyTypes: [Ingress]');
  const accept = clusterPolicy({ at: 'A10', in: ['action: Accept, from: [{ namespaces: {} }]'] });
  const { changes } = diff(clusterWorld(deny).world, clusterWorld(deny, accept).world);
  assert.deepEqual(
    [...new Set(changes.map(({ why }) => why))],
    ['NetworkPolicy/shop/deny no longer decides it; ClusterNetworkPolicy/a10 ingress[0] accepts it'],
  );
});

test('port classes and address classes cover everything once, without gaps', () => {
  fc.assert(
    fc.property(manifests(), list => {
      const world = worldFrom(list);
      for (const protocol of ['TCP', 'UDP', 'SCTP']) {
        const own = portClasses([world]).filter(each => each.protocol === protocol);
        assert.deepEqual([own[0]!.first, own.at(-1)!.last], [0, 65535]);
        for (const [i, { first }] of own.entries()) assert.equal(first, (own[i - 1]?.last ?? -1) + 1);
      }
      const classes = new AddressClasses([world]);
      for (const family of [4, 6] as const)
        for (const [i, range] of classes.ranges(family).entries()) {
          assert.equal(range.first, (classes.ranges(family)[i - 1]?.last ?? -1n) + 1n);
          assert.deepEqual(
            [range.first, range.last].map(value => classes.indexOf({ family, value })),
            [i, i],
          );
        }
    }),
    { numRuns: 100 },
  );
});

test('rangeText() writes a prefix where it is one', () => {
  const range = (first: string, last: string) =>
    rangeText({
      family: parseAddress(first)!.family,
      first: parseAddress(first)!.value,
      last: parseAddress(last)!.value,
    });
  assert.equal(range('10.0.0.0', '10.255.255.255'), '10.0.0.0/8');
  assert.equal(range('10.0.0.1', '10.0.0.1'), '10.0.0.1/32');
  assert.equal(range('10.0.0.1', '10.0.0.2'), '10.0.0.1-10.0.0.2');
  assert.equal(range('::', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'), '::/0');
});
