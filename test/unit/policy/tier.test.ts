/** What cluster policies come to in a ruleset: order, verdicts, few rules, and names for people. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDenial, saidByPrefix } from '../../../lib/gate/denial.ts';
import { toNft } from '../../../lib/gate/ruleset-to-nft.ts';
import { shrunkBetween } from '../../../lib/gate/shrunk.ts';
import { type Address, formatAddress, parseAddress } from '../../../lib/ip/address.ts';
import { diff } from '../../../lib/nft/diff.ts';
import type { Chain, NamedSet, Table } from '../../../lib/nft/model.ts';
import { goto, PROTOCOL, RETURN, rule, vmap } from '../../../lib/nft/statements.ts';
import { gatesIndexIn, gatesIndexText, setsIn, setsText } from '../../../lib/nodestore/rules-file.ts';
import { type CompileOptions, compile } from '../../../lib/policy/compile/compile.ts';
import { LiveRules } from '../../../lib/policy/compile/live.ts';
import { type ChainRule, denierOf, type RuleChain, type Ruleset } from '../../../lib/policy/compile/ruleset.ts';
import { readManifests } from '../../../lib/policy/manifest/manifest.ts';
import { formatRule, type World } from '../../../lib/policy/model/model.ts';
import { tracerOf } from '../../support/nft-tracer.ts';
import { outcomeAt } from '../../support/ruleset-tracer.ts';

const TAG = 0x74670001;
const identity = { namespace: 'shop', labels: new Map<string, string>(), namedPorts: [] };
const everyone = { namespaces: {} };

const cluster = (name: string, spec: object, tier = 'Admin', priority = 10) => ({
  ...{ apiVersion: 'policy.networking.k8s.io/v1alpha2', kind: 'ClusterNetworkPolicy', metadata: { name } },
  spec: { tier, priority, subject: everyone, ...spec },
});
const own = (name: string, spec: object) => ({
  ...{ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { namespace: 'shop', name } },
  spec: { podSelector: {}, ...spec },
});
const pod = (namespace: string, ip: string) => ({
  ...{ apiVersion: 'v1', kind: 'Pod', metadata: { namespace, name: `at-${ip}` } },
  ...{ spec: { containers: [] }, status: { phase: 'Running', podIPs: [{ ip }] } },
});
const from = (action: string, ...namespaces: string[]) => ({
  action,
  from: namespaces.map(name => ({ namespaces: { matchLabels: { 'kubernetes.io/metadata.name': name } } })),
});

function worldOf(objects: readonly object[]): World {
  const { world, problems } = readManifests(objects.map((value, document) => ({ file: 'x.yaml', document, value })));
  assert.deepEqual(problems, []);
  return world;
}

const compiled = (objects: readonly object[], options: CompileOptions = {}): Ruleset =>
  compile(worldOf(objects), [{ tag: TAG, identity }], options);

const chainAt = ({ chains }: Ruleset, gate: string | undefined): RuleChain => chains.get(gate!)!;

/** `ClusterNetworkPolicy/x ingress[0] → denied`, IPv4 alone; then where the rest goes. */
function told(ruleset: Ruleset, gate: string): readonly string[] {
  const { rules, otherwise } = chainAt(ruleset, gate);
  const where = (to: string | undefined, numbers: ChainRule['numbers']): string => {
    if (to === undefined) return numbers ? `denied in tier ${chainAt(ruleset, gate).denies!.tier}` : 'allowed';
    if (to === 'open') return 'nothing denies';
    const chain = chainAt(ruleset, to);
    return chain.denies ? `denied in tier ${chain.denies.tier}` : chain.policies.join();
  };
  const ofFour = rules.filter(({ peers }) => peers === 'any' || peers.family === 4);
  return [
    ...ofFour.map(({ origins, to, numbers }) => `${origins.map(formatRule).join()} → ${where(to, numbers)}`),
    `else → ${otherwise === undefined ? 'denied' : where(otherwise, undefined)}`,
  ];
}

test('rules stand in the order of tiers, priorities and lists; each leads to where its action says', () => {
  const ruleset = compiled([
    cluster('late', { ingress: [from('Deny', 'c')] }, 'Admin', 20),
    cluster('early', { ingress: [from('Pass', 'a'), from('Accept', 'b')] }),
    cluster('last', { ingress: [from('Deny', 'a')] }, 'Baseline'),
  ]);
  const { ingress, egress } = ruleset.tags.get(TAG)!;
  assert.equal(egress, 'open');
  assert.deepEqual(told(ruleset, ingress), [
    'ClusterNetworkPolicy/early ingress[0] → ClusterNetworkPolicy/last',
    'ClusterNetworkPolicy/early ingress[1] → allowed',
    'ClusterNetworkPolicy/late ingress[0] → denied in tier Admin',
    'else → ClusterNetworkPolicy/last',
  ]);
  assert.deepEqual(told(ruleset, chainAt(ruleset, ingress).otherwise!), [
    'ClusterNetworkPolicy/last ingress[0] → denied in tier Baseline',
    'else → nothing denies',
  ]);
});

test('where a NetworkPolicy isolates, Admin goes on to it, and Baseline is not there', () => {
  const ruleset = compiled([
    cluster('admin', { ingress: [from('Pass', 'a')] }),
    cluster('last', { ingress: [from('Deny', 'a')] }, 'Baseline'),
    own('closed', {}),
  ]);
  const { ingress, byCluster } = ruleset.tags.get(TAG)!;
  assert.deepEqual(told(ruleset, ingress), [
    'ClusterNetworkPolicy/admin ingress[0] → NetworkPolicy/shop/closed',
    'else → NetworkPolicy/shop/closed',
  ]);
  assert.deepEqual(told(ruleset, byCluster!.ingress), [
    'ClusterNetworkPolicy/admin ingress[0] → allowed',
    'else → nothing denies',
  ]);
});

test('an identity that no cluster policy selects has the gates of before, and nothing else', () => {
  const objects = [own('closed', {}), cluster('x', { subject: { namespaces: { matchLabels: { a: 'b' } } } })];
  assert.deepEqual(compiled(objects), compiled(objects.slice(0, 1)));
});

test('25 peers and 25 ports by number and by name are two rules for each family, and no product of them', () => {
  const numbers = Array.from({ length: 25 }, (_, i) => i);
  const to = numbers.map(i => ({ namespaces: { matchLabels: { team: `t${i}` } } }));
  const protocols = numbers.map(i =>
    i < 13 ? { destinationNamedPort: `port-${i}` } : { tcp: { destinationPort: { number: i * 100 } } },
  );
  const ruleset = compiled([cluster('many', { egress: [{ action: 'Deny', to, protocols }] })]);
  assert.equal(chainAt(ruleset, ruleset.tags.get(TAG)!.egress).rules.length, 4);
  assert.equal(ruleset.sets.size, 4);
});

test('many neighbours with one action become few rules; one with another action between them parts them', () => {
  const accepts = Array.from({ length: 30 }, (_, i) => cluster(`p${i}`, { ingress: [from('Accept', `ns${i}`)] }));
  const rulesOf = (objects: readonly object[]) => {
    const ruleset = compiled(objects);
    return chainAt(ruleset, ruleset.tags.get(TAG)!.ingress).rules.filter(
      ({ peers }) => peers !== 'any' && peers.family === 4,
    );
  };
  assert.equal(rulesOf(accepts).length, 1);
  const denying = cluster('p15', { ingress: [from('Deny', 'ns15')] });
  const parted = rulesOf([...accepts.filter(({ metadata }) => metadata.name !== 'p15'), denying]);
  // By name seven come before it, which are few enough to stay apart.
  assert.deepEqual(
    parted.map(({ origins }) => origins.length),
    [1, 29],
  );
});

/** `ingress[0]`, of the rule that denies what has the number. */
const deniedBy = ({ chains }: Ruleset, number: number | undefined): string | undefined =>
  [...chains.values()]
    .flatMap(({ rules }) => rules)
    .find(({ numbers }) => numbers && numbers.bits === number)
    ?.origins.map(({ direction, index }) => `${direction}[${index}]`)
    .join();

/** `Deny 10.0.0.1 TCP 80 ingress[0]`, of each set of what is decided. */
const decidedIn = (ruleset: Ruleset): readonly string[] =>
  [...ruleset.sets.values()].flatMap(set =>
    set.kind === 'decided' && set.family === 4
      ? set.elements.map(({ address, protocol, port, counter, number }) =>
          [set.action, formatAddress(address), protocol, port, counter, deniedBy(ruleset, number)]
            .filter(part => part !== undefined)
            .join(' '),
        )
      : [],
  );

const on = (rule: object, ...ports: number[]) => ({
  ...rule,
  protocols: ports.map(number => ({ tcp: { destinationPort: { number } } })),
});
const aAt = pod('a', '10.0.0.1');
const decidedRows: readonly (readonly [string, readonly object[], readonly string[]])[] = [
  [
    'the first rule for a port decides it',
    [on(from('Deny', 'a'), 80), on(from('Pass', 'a'), 80)],
    ['Deny 10.0.0.1 TCP 80 ingress[0]'],
  ],
  [
    'ports that a later rule gives are decided by it',
    [on(from('Deny', 'a'), 80), on(from('Pass', 'a'), 80, 81)],
    ['Pass 10.0.0.1 TCP 81', 'Deny 10.0.0.1 TCP 80 ingress[0]'],
  ],
  [
    'a rule without ports decides all that no rule before it does, and ends the list',
    [on(from('Pass', 'a'), 80), from('Deny', 'a'), on(from('Pass', 'a'), 81), from('Pass', 'a')],
    ['Pass 10.0.0.1 TCP 80', 'Deny 10.0.0.1 ingress[1]'],
  ],
  [
    'what is accepted has the counter of its policy',
    [from('Accept', 'a', 'b')],
    ['Accept 10.0.0.1 ClusterNetworkPolicy/x'],
  ],
  [
    'what is denied has the number of the rule that denies it',
    [on(from('Deny', 'b'), 80), on(from('Pass', 'a'), 79), on(from('Deny', 'a'), 80), from('Deny', 'a')],
    ['Pass 10.0.0.1 TCP 79', 'Deny 10.0.0.1 TCP 80 ingress[2]', 'Deny 10.0.0.1 ingress[3]'],
  ],
  ['rules for others decide nothing', [from('Deny', 'b'), on(from('Pass', 'b'), 80)], []],
];
for (const [name, ingress, expected] of decidedRows)
  test(`of many rules for pods: ${name}`, () => {
    const padded = [...ingress, from('Pass', 'none'), from('Deny', 'none')];
    assert.deepEqual(decidedIn(compiled([cluster('x', { ingress: padded }), aAt], { apart: 1 })), expected);
  });

/** Kinds of what the rules of a chain look into, IPv4 alone; `any` where a rule asks for the port alone. */
const kindsIn = ({ rules }: RuleChain): readonly string[] =>
  rules
    .filter(({ peers }) => peers === 'any' || peers.family === 4)
    .map(({ peers }) => (peers === 'any' ? peers : peers.kind));

const two = [from('Pass', 'b'), from('Deny', 'a')];
const range = { tcp: { destinationPort: { range: { start: 1, end: 99 } } } };
const cutting: readonly (readonly [string, object, readonly string[]])[] = [
  ['all pods', { action: 'Deny', from: [everyone], protocols: [range] }, ['decided', 'decided', 'addresses']],
  ['a long range of ports', { ...from('Deny', 'a'), protocols: [range] }, ['decided', 'decided']],
];
for (const [what, rule, ofCut] of cutting)
  test(`a rule for ${what} has its ports cut, and parts nothing of what is looked up on others`, () => {
    const ruleset = compiled([cluster('x', { ingress: [...two, rule, ...two] }), aAt], { apart: 1 });
    const whole = chainAt(ruleset, ruleset.tags.get(TAG)!.ingress);
    assert.deepEqual(kindsIn(whole), ['any', 'decided', 'decided']);
    const [cut] = whole.rules;
    assert.deepEqual(cut!.ports, { protocol: 'TCP', spans: [{ first: 1, last: 99 }] });
    assert.deepEqual(kindsIn(chainAt(ruleset, cut!.to)), ofCut);
  });

test('rules for all pods that name too many ports stay rules of the chain, where they stand', () => {
  const many = Array.from({ length: 9 }, (_, i) => on({ action: 'Deny', from: [everyone] }, 80 + 2 * i));
  const ruleset = compiled([cluster('x', { ingress: [...two, ...many, ...two] }), aAt], { apart: 2 });
  const kinds = kindsIn(chainAt(ruleset, ruleset.tags.get(TAG)!.ingress));
  assert.deepEqual([kinds.at(0), kinds.at(-1)], ['decided', 'decided']);
  assert.ok(kinds.includes('addresses') && !kinds.includes('any'), kinds.join());
});

test('a network without ports stays a rule of the chain, and what stands on its two sides is looked up apart', () => {
  const to = (action: string, name: string) => ({ action, to: from(action, name).from });
  const sides = [to('Pass', 'b'), to('Deny', 'a')];
  const egress = [...sides, { action: 'Deny', to: [{ networks: ['198.51.100.0/24'] }] }, ...sides];
  const ruleset = compiled([cluster('x', { egress }), aAt], { apart: 1 });
  const kinds = kindsIn(chainAt(ruleset, ruleset.tags.get(TAG)!.egress));
  assert.deepEqual(kinds, ['decided', 'decided', 'ranges', 'decided', 'decided']);
});

test('rules that name more ports than each pod may have elements for stay rules of the chain', () => {
  const rules = Array.from({ length: 40 }, (_, i) =>
    on(from(i % 2 === 0 ? 'Deny' : 'Pass', 'a'), ...Array.from({ length: 16 }, (_, n) => 1000 * (i + 1) + 2 * n)),
  );
  const [first, second] = [rules.slice(0, 25), rules.slice(25)];
  const ruleset = compiled([cluster('x', { ingress: first }), cluster('y', { ingress: second }), aAt]);
  assert.equal(decidedIn(ruleset).length, 256);
  const { rules: ofChain } = chainAt(ruleset, ruleset.tags.get(TAG)!.ingress);
  assert.ok(ofChain.length > 2 * (40 - 16), `${ofChain.length} rules`);
});

test('identities that other NetworkPolicies isolate share the sets of what is decided', () => {
  const ingress = Array.from({ length: 20 }, (_, i) => from(i % 2 === 0 ? 'Pass' : 'Deny', `ns${i}`));
  const setsBeside = (...objects: readonly object[]) =>
    [...compiled([cluster('x', { ingress }), aAt, ...objects]).sets.values()]
      .filter(({ kind }) => kind === 'decided')
      .map(({ name }) => name);
  assert.deepEqual(setsBeside(), setsBeside(own('closed', {})));
});

test('what is denied goes to the rule whose number it has, so that the log names the one that decides', () => {
  const ingress = Array.from({ length: 20 }, (_, i) => from(i % 2 === 0 ? 'Pass' : 'Deny', `ns${i}`));
  const ruleset = compiled([cluster('x', { ingress })]);
  const denied = chainAt(ruleset, ruleset.tags.get(TAG)!.ingress).rules.find(({ peers }) => {
    return peers !== 'any' && peers.kind === 'decided' && peers.action === 'Deny';
  })!;
  const named = [1, 3, 5, 7, 9, 11, 13, 15, 17, 19].map(i => `ClusterNetworkPolicy/x ingress[${i}]`);
  const lines = named.map(name => `${name} → denied in tier Admin`);
  assert.deepEqual(told(ruleset, denied.to!).toSorted(), [...lines, 'else → denied'].toSorted());
});

test('each of many rules that deny logs and counts what it denies, and no packet asks all of them', () => {
  const rules = Array.from({ length: 200 }, (_, i) => from(i % 2 === 0 ? 'Pass' : 'Deny', `ns${i}`));
  const pods = rules.map((_, i) => pod(`ns${i}`, `10.0.1.${i}`));
  const policies = Array.from({ length: 40 }, (_, i) =>
    cluster(`x${i}`, { ingress: rules.slice(5 * i, 5 * (i + 1)) }, 'Admin', i),
  );
  const ruleset = compiled([...policies, ...pods]);
  const { chains, sets } = toNft(ruleset, 7467);
  const gate = goto(ruleset.tags.get(TAG)!.ingress);
  const base = { type: 'filter', hook: 'output', priority: 0, policy: 'accept' } as const;
  const entry: Chain = { name: 'entry', base, rules: [rule([gate])] };
  const trace = tracerOf({ family: 'inet', name: 'x', chains: [entry, ...chains], sets, counters: [] });
  const [daddr, l4proto] = [0n, PROTOCOL.tcp];
  const told = rules.map((_, i) => {
    const saddr = parseAddress(`10.0.1.${i}`)!.value;
    const { verdict, logged, packet } = trace('output', { family: 4, saddr, daddr, l4proto, dport: 80 });
    const said = saidByPrefix(logged[0] ?? '');
    const denier = said && denierOf(ruleset.chains, parseDenial(said.denial));
    return [verdict, packet.mark !== undefined, denier?.denies?.rules.map(formatRule), said?.rule];
  });
  assert.deepEqual(
    told,
    rules.map(({ action }, i) => {
      if (action === 'Pass') return ['accept', false, undefined, undefined];
      const which = `ClusterNetworkPolicy/x${Math.floor(i / 5)} ingress[${i % 5}]`;
      return ['drop', true, [which], `Admin ${which}`];
    }),
  );
  assert.equal(sets.length, 4, 'one for each action and family, however many rules there are');
  const longest = Math.max(...chains.map(({ rules }) => rules.length));
  assert.ok(longest <= 40, `a chain has ${longest} rules`);
});

test('what is denied by one of two rules with the same number is told of in the name of both', () => {
  const [one, other] = ['p31434', 'p9309'];
  const ruleset = compiled(
    [cluster(one!, { ingress: [from('Deny', 'a')] }), cluster(other!, { ingress: [from('Deny', 'b')] }), aAt],
    { apart: 1 },
  );
  const numbers = [...ruleset.sets.values()]
    .flatMap(set => (set.kind === 'decided' ? set.rules : []))
    .map(n => n.number);
  assert.deepEqual(new Set(numbers), new Set([0x5bd4ac00]));
  const packet = { peer: parseAddress('10.0.0.1')!, protocol: 'TCP', port: 80 } as const;
  const outcome = outcomeAt(ruleset, TAG, 'ingress', packet);
  assert.ok(outcome !== 'passes' && outcome?.denies);
  const names = [one, other].map(name => `ClusterNetworkPolicy/${name} ingress[0]`);
  assert.deepEqual(outcome.denies.rules.map(formatRule), names);
});

test('a policy that takes the place of another with the same rules denies in its own name', () => {
  const ingress = Array.from({ length: 20 }, (_, i) => from(i % 2 === 0 ? 'Pass' : 'Deny', `ns${i}`));
  const [before, after] = ['x', 'y'].map(name => worldOf([cluster(name, { ingress })]).clusterPolicies![0]!);
  const rules = live([pod('ns3', '10.0.0.9')]);
  const packet = { peer: parseAddress('10.0.0.9')!, protocol: 'TCP', port: 80 } as const;
  const denier = () => {
    rules.take();
    const outcome = outcomeAt(rules.ruleset(), TAG, 'ingress', packet);
    return outcome === 'passes' ? outcome : outcome?.denies?.rules.map(formatRule);
  };
  rules.setClusterPolicy(before!);
  assert.deepEqual(denier(), ['ClusterNetworkPolicy/x ingress[3]']);
  rules.deleteClusterPolicy(before!);
  rules.setClusterPolicy(after!);
  assert.deepEqual(denier(), ['ClusterNetworkPolicy/y ingress[3]']);
});

test('policies with the same rules for other pods and in another tier deny each in its own name', () => {
  const ingress = Array.from({ length: 20 }, (_, i) => from('Deny', `ns${i}`));
  const only = (name: string) => ({ namespaces: { matchLabels: { 'kubernetes.io/metadata.name': name } } });
  const policies = [
    cluster('one', { subject: only('shop'), ingress }),
    cluster('other', { subject: only('bank'), ingress }, 'Baseline'),
  ];
  const rules = live([...policies, pod('ns3', '10.0.0.1')]);
  const packet = { peer: parseAddress('10.0.0.1')!, protocol: 'TCP', port: 80 } as const;
  const denied = [TAG, TAG + 1].map(tag => {
    const outcome = outcomeAt(rules.ruleset(), tag, 'ingress', packet);
    return outcome === 'passes' ? outcome : outcome?.denies?.rules.map(formatRule);
  });
  assert.deepEqual(denied, [['ClusterNetworkPolicy/one ingress[3]'], ['ClusterNetworkPolicy/other ingress[3]']]);
});

test('a counter stays while any chain has elements that count by it', () => {
  const ingress = Array.from({ length: 20 }, (_, i) => from(i % 2 === 0 ? 'Accept' : 'Deny', `ns${i}`));
  const ofBank = { subject: { namespaces: { matchLabels: { 'kubernetes.io/metadata.name': 'bank' } } }, ingress };
  const rules = live([cluster('x', { ingress }), cluster('y', ofBank)]);
  for (const policy of rules.cluster.clusterPolicies('Admin'))
    if (policy.name === 'y') rules.deleteClusterPolicy(policy);
  const { before, after } = rules.take()!;
  const counters = [before, after].map(part =>
    toNft(part, 7467)
      .counters.map(({ name }) => name)
      .filter(name => name.includes('Policy')),
  );
  assert.deepEqual(counters, [
    ['ingress/ClusterNetworkPolicy/x', 'ingress/ClusterNetworkPolicy/y'],
    ['ingress/ClusterNetworkPolicy/x'],
  ]);
});

test('the index by which a new process goes on has the rules of what is decided once, and brings them back', () => {
  const ingress = Array.from({ length: 20 }, (_, i) => from(i % 2 === 0 ? 'Accept' : 'Deny', `ns${i}`));
  const rules = live([cluster('x', { ingress }), aAt]);
  const index = rules.index();
  const sets = setsText(1, index);
  assert.equal(sets.split('"counter":').length - 1, ingress.length, 'those that accept, in one list for each family');
  const gates = gatesIndexIn(1, gatesIndexText(1, index.gates()!))!;
  const resumed = new LiveRules({}, { known: { specs: setsIn(1, sets)!.specs, gates } });
  resumed.setIdentities([{ tag: TAG, identity }]);
  assert.deepEqual([...resumed.ruleset().sets.keys()], [...rules.ruleset().sets.keys()]);
  resumed.setPod(worldOf([pod('ns3', '10.0.0.9')]).pods[0]!);
  assert.deepEqual(decidedIn(resumed.ruleset()), ['Deny 10.0.0.9 ingress[3]']);
});

test('gates that are kept are those of the same policies in the same order', () => {
  const [deny, accept] = [from('Deny', 'a'), from('Accept', 'a')];
  const gates = new Map();
  const gateBy = (first: number, second: number) => {
    const objects = [
      cluster('x', { ingress: [deny] }, 'Admin', first),
      cluster('y', { ingress: [accept] }, 'Admin', second),
    ];
    // Only what is kept by policies: the identity itself is asked for anew.
    for (const key of gates.keys()) if (!key.startsWith('by policies')) gates.delete(key);
    const ruleset = compiled(objects, { gates });
    return told(ruleset, ruleset.tags.get(TAG)!.ingress)[0];
  };
  assert.match(gateBy(1, 2)!, /denied/);
  assert.match(gateBy(2, 1)!, /allowed/);
});

for (const [name, end] of [
  ['bank', "bank ingress[0] 'no shop'"],
  ['b'.repeat(200), 'b~'],
] as const)
  test(`what denies says in its log which tier, policy and rule it is: of a name of ${name.length}`, () => {
    const ruleset = compiled([cluster(name, { ingress: [{ ...from('Deny', 'a'), name: 'no shop' }] })]);
    const denying = [...ruleset.chains.values()].find(({ denies }) => denies !== undefined)!;
    const { rules } = toNft(ruleset, 7467).chains.find(each => each.name === denying.name)!;
    const log = rules[0]!.statements.find(({ kind }) => kind === 'log') as { readonly prefix: string };
    assert.ok(log.prefix.startsWith(`tollgate ${denying.name} Admin ClusterNetworkPolicy/b`), log.prefix);
    assert.ok(log.prefix.endsWith(end), log.prefix);
    assert.ok(Buffer.byteLength(log.prefix) <= 127, log.prefix);
  });

const live = (objects: readonly object[]): LiveRules => {
  const rules = new LiveRules();
  const world = worldOf(objects);
  for (const [name, labels] of world.namespaces) rules.setNamespace(name, labels);
  for (const each of world.pods) rules.setPod(each);
  for (const policy of world.clusterPolicies ?? []) rules.setClusterPolicy(policy);
  rules.setIdentities([
    { tag: TAG, identity },
    { tag: TAG + 1, identity: { ...identity, namespace: 'bank' } },
  ]);
  rules.take();
  return rules;
};

test('a cluster policy comes into force for every namespace at once, whichever are asked for', () => {
  const rules = live([]);
  for (const policy of worldOf([cluster('x', { ingress: [from('Deny', 'a')] })]).clusterPolicies!)
    rules.setClusterPolicy(policy);
  const { after } = rules.take(['shop'])!;
  assert.deepEqual(
    [...after.tags.values()].map(({ ingress }) => ingress === 'open'),
    [false, false],
  );
});

test('a namespace that gets a label which a subject asks for has other gates with the next change, whichever it is', () => {
  const subject = { namespaces: { matchLabels: { tier: 'prod' } } };
  const rules = live([cluster('x', { subject, ingress: [from('Deny', 'a')] })]);
  rules.setNamespace('shop', new Map([['tier', 'prod']]));
  const { after } = rules.take([])!;
  assert.deepEqual(
    [...after.tags.values()].map(({ ingress }) => ingress === 'open'),
    [false, true],
  );
});

test('one more pod of a known identity is an element, and looks at no rule', () => {
  const rules = live([cluster('x', { ingress: [from('Deny', 'a')] }), pod('a', '10.0.0.1')]);
  rules.setPod({ ...worldOf([pod('a', '10.0.0.2')]).pods[0]! });
  const change = rules.take()!;
  assert.equal(change.isStructural, false);
  assert.deepEqual([change.before.isOrdered, change.after.isOrdered], [true, true]);
});

test('whoever comes into a set of ordered rules may be denied by it: his connections are looked at', () => {
  const rules = live([cluster('x', { ingress: [from('Deny', 'a')] }), pod('a', '10.0.0.1')]);
  rules.setPod({ ...worldOf([pod('a', '10.0.0.2')]).pods[0]! });
  assert.deepEqual(shrunkBetween(rules.take()!, []).map(formatAddress), ['10.0.0.2']);
});

test('a node that gets a label which a peer asks for is an address that comes, and one that goes when it loses it', () => {
  const to = [{ nodes: { matchLabels: { role: 'db' } } }];
  const rules = live([cluster('x', { egress: [{ action: 'Deny', to }] })]);
  const node = { name: 'n1', addresses: ['192.0.2.11'] };
  const elements = (part: 'before' | 'after', labels: ReadonlyMap<string, string>) => {
    rules.setNode({ ...node, labels });
    const change = rules.take();
    return [...(change?.[part].sets.values() ?? [])]
      .flatMap(set => set.elements as readonly Address[])
      .map(formatAddress);
  };
  assert.deepEqual(elements('after', new Map([['role', 'db']])), ['192.0.2.11']);
  assert.deepEqual(elements('before', new Map([['role', 'web']])), ['192.0.2.11']);
  assert.deepEqual(elements('after', new Map()), [], 'of no interest to any peer');
});

const map = (name: string, elements: NamedSet['elements']): NamedSet => ({
  ...{ name, key: ['nf_proto'], value: 'verdict', elements },
});
const tableWith = (number: number): Table => ({
  ...{ family: 'inet', name: 'x', counters: [] },
  chains: [{ name: 'end', rules: [rule([vmap('meta nfproto', 'moment')])] }],
  sets: [map('moment', [{ key: [2], value: RETURN }]), { name: 'other', key: ['mark'], elements: [{ key: [number] }] }],
});

test('a witness is made anew with whatever changes, and with nothing', () => {
  const objects = (want: number) =>
    diff(tableWith(1), tableWith(want), { witness: 'moment' }).operations.map(
      ({ verb, object }) => `${verb} ${object}`,
    );
  assert.deepEqual(objects(1), []);
  const made = objects(2);
  for (const one of ['delete set', 'create set', 'flush chain', 'add rule']) assert.ok(made.includes(one), made.join());
});
