import assert from 'node:assert/strict';
import test from 'node:test';
import { formatAddress, parseAddress } from '../../../lib/ip/address.ts';
import { type CompileOptions, compile } from '../../../lib/policy/compile/compile.ts';
import { Names } from '../../../lib/policy/compile/names.ts';
import type { PeerSet, Ruleset } from '../../../lib/policy/compile/ruleset.ts';
import type { World } from '../../../lib/policy/model/model.ts';
import { type Case, worldOfYaml } from '../../support/policy-cases.ts';
import { passes } from '../../support/ruleset-tracer.ts';
import { type Tagged, tagged } from '../../support/worlds.ts';

const pod = (name: string, labels: string, ip: string, ports = '') =>
  `{ apiVersion: v1, kind: Pod, metadata: { namespace: ${name.split('/')[0]}, name: ${name.split('/')[1]}, labels: { ${labels} } },
  spec: { nodeName: n1, containers: [{ ports: [${ports}] }] }, status: { podIP: "${ip}" } }`;
const policy = (name: string, spec: string) =>
  `{ apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: { namespace: ${name.split('/')[0]}, name: ${name.split('/')[1]} }, spec: { ${spec} } }`;

/** The pods of namespace a are those of this node. */
function compiled(documents: readonly string[], options: CompileOptions = {}): Ruleset & Tagged & Pick<Case, 'world'> {
  const { world, problems } = worldOfYaml(documents.join('\n---\n'));
  assert.deepEqual(problems, []);
  const own = tagged(world.pods.filter(({ namespace }) => namespace === 'a'));
  return { ...compile(world, own.identities, options), ...own, world };
}

const gateOf = ({ world, tagOf, tags }: Ruleset & Tagged & { readonly world: World }, name: string) =>
  tags.get(tagOf(world.pods.find(each => each.name === name)!)!)!;
const texts = (set: PeerSet | undefined) =>
  set?.kind === 'addresses' ? set.elements.map(formatAddress) : `no set of addresses but ${set?.kind}`;

const fromWeb =
  'podSelector: { matchLabels: { app: db } }, ingress: [{ from: [{ podSelector: { matchLabels: { app: web } } }] }]';
const small = [pod('a/web', 'app: web', '10.0.0.2'), pod('a/db', 'app: db', '10.0.0.3'), policy('a/db', fromWeb)];

test('a pod that no policy isolates has open gates; the others’ gates are chains', () => {
  const it = compiled(small);
  const { identity: _, ...web } = gateOf(it, 'web');
  assert.deepEqual(web, { egress: 'open', ingress: 'open' });
  const { egress, ingress } = gateOf(it, 'db');
  assert.equal(egress, 'open');
  assert.deepEqual(it.chains.get(ingress)!.policies, ['NetworkPolicy/a/db']);
});

test('a chain’s rules name their policy, its rule and its counter; a set’s comment names its selector', () => {
  const it = compiled(small);
  const [rule] = it.chains.get(gateOf(it, 'db').ingress)!.rules;
  assert.deepEqual(rule!.origins, [{ policy: 'NetworkPolicy/a/db', direction: 'ingress', index: 0 }]);
  assert.equal(rule!.counter, 'NetworkPolicy/a/db');
  assert.deepEqual([...new Set([...it.sets.values()].map(({ comment }) => comment))], ['pods app=web in namespace a']);
});

test('pods that come and go change elements of sets, and neither rules nor names', () => {
  const before = compiled(small);
  const after = compiled([...small, pod('a/web2', 'app: web', '10.0.0.9')]);
  assert.deepEqual(after.chains, before.chains);
  assert.deepEqual([...after.sets.keys()], [...before.sets.keys()]);
  const name = [...before.sets.values()].find(({ family }) => family === 4)!.name;
  assert.deepEqual(texts(before.sets.get(name)), ['10.0.0.2']);
  assert.deepEqual(texts(after.sets.get(name)), ['10.0.0.2', '10.0.0.9']);
});

test('a set is there though nobody is in it yet', () => {
  const it = compiled(small.slice(1));
  assert.deepEqual(
    [...it.sets.values()].map(set => [set.family, set.elements.length]),
    [
      [4, 0],
      [6, 0],
    ],
  );
});

test('policies share sets by selector, in whatever order and form it is written', () => {
  const expressions = 'matchExpressions: [{ key: tier, operator: Exists }, { key: app, operator: In, values: [web] }]';
  const it = compiled([
    pod('a/db', 'app: db', '10.0.0.3'),
    policy(
      'a/one',
      `podSelector: {}, ingress: [{ from: [{ podSelector: { ${expressions} } }], ports: [{ port: 1 }] }]`,
    ),
    policy(
      'a/two',
      'podSelector: {}, ingress: [{ from: [{ podSelector: { matchLabels: { app: web }, matchExpressions: [{ key: tier, operator: Exists }] } }], ports: [{ port: 2 }] }]',
    ),
  ]);
  assert.equal(it.sets.size, 2);
  assert.equal(it.chains.size, 1);
});

test('the same selector in two namespaces is two sets', () => {
  const rule = (port: number) =>
    `podSelector: {}, ingress: [{ from: [{ podSelector: { matchLabels: { app: web } } }], ports: [{ port: ${port} }] }]`;
  const { world } = worldOfYaml(
    [...small, pod('b/db', 'app: db', '10.0.1.3'), policy('b/db', rule(1)), policy('a/x', rule(1))].join('\n---\n'),
  );
  assert.equal(compile(world, tagged(world.pods).identities).sets.size, 4);
});

test('identities that the same policy isolates share one chain; those of another namespace share deny-all', () => {
  const { world } = worldOfYaml(
    ['a/x', 'a/z', 'b/x', 'b/z'].map((name, i) => pod(name, `app: app-${i}`, `10.0.0.${i}`)).join('\n---\n') +
      ['', policy('a/deny', 'podSelector: {}'), policy('b/deny', 'podSelector: {}')].join('\n---\n'),
  );
  const ruleset = compile(world, tagged(world.pods).identities);
  assert.equal(ruleset.tags.size, 4);
  assert.equal(ruleset.chains.size, 1);
  assert.deepEqual([...ruleset.chains.values()][0]!.policies, ['NetworkPolicy/a/deny', 'NetworkPolicy/b/deny']);
});

test('policies that select no pod of this node leave no trace', () => {
  const it = compiled([...small.slice(0, 1), policy('a/db', fromWeb), policy('b/all', 'podSelector: {}')]);
  assert.deepEqual([it.sets.size, it.chains.size, it.tags.size], [0, 0, 1]);
});

test('rules that match the same are one, which counts for the first of their policies and names both', () => {
  const it = compiled([...small, policy('a/also', fromWeb)]);
  const { rules } = it.chains.get(gateOf(it, 'db').ingress)!;
  assert.deepEqual(
    rules.map(({ counter, origins }) => [counter, origins.map(origin => origin.policy)]),
    [4, 6].map(() => ['NetworkPolicy/a/also', ['NetworkPolicy/a/also', 'NetworkPolicy/a/db']]),
  );
});

test('on the way in a named port is a number, identity by identity', () => {
  const spec = 'podSelector: {}, ingress: [{ ports: [{ port: http }] }]';
  const it = compiled([
    pod('a/x', 'app: x', '10.0.0.1', '{ name: http, containerPort: 80 }'),
    pod('a/z', 'app: x', '10.0.0.2', '{ name: http, containerPort: 8080 }'),
    policy('a/http', spec),
  ]);
  const ports = ['x', 'z'].map(name => it.chains.get(gateOf(it, name).ingress)!.rules.map(rule => rule.ports));
  const one = (port: number) => [{ protocol: 'TCP', spans: [{ first: port, last: port }] }];
  assert.deepEqual(ports, [one(80), one(8080)]);
  assert.equal(it.sets.size, 0);
});

test('on the way out a named port is a set of tuples, pod by pod', () => {
  const it = compiled([
    pod('a/client', 'app: client', '10.0.0.1'),
    pod('b/x', 'app: x', '10.0.1.1', '{ name: http, containerPort: 80 }'),
    pod(
      'b/z',
      'app: x',
      '10.0.1.2',
      '{ name: http, containerPort: 8080 }, { name: http, containerPort: 80, protocol: UDP }',
    ),
    policy(
      'a/out',
      'podSelector: {}, policyTypes: [Egress], egress: [{ to: [{ namespaceSelector: {} }], ports: [{ port: http }] }]',
    ),
  ]);
  const set = [...it.sets.values()].find(({ family }) => family === 4)!;
  const at = (text: string, port: number) => ({ address: parseAddress(text)!, protocol: 'TCP', port });
  assert.deepEqual(set.elements, [at('10.0.1.1', 80), at('10.0.1.2', 8080)]);
  assert.equal(set.comment, 'TCP port http of all pods in all namespaces');
});

test('set and chain names fit where nft wants at most 31 characters', () => {
  const it = compiled([
    ...small,
    policy(
      'a/out',
      'podSelector: {}, policyTypes: [Egress], egress: [{ to: [{ ipBlock: { cidr: 10.0.0.0/8 } }] }, { ports: [{ port: http }] }]',
    ),
  ]);
  assert.ok(it.sets.size >= 5);
  for (const name of [...it.sets.keys(), ...it.chains.keys()]) assert.match(name, /^[a-z]+[46]?-[0-9a-f]{16}$/);
});

test('two contents that meet in one hash keep apart, and keep their names while Names lives', () => {
  const names = new Names(() => 'same');
  const many = [
    ...small,
    policy('a/web', 'podSelector: { matchLabels: { app: web } }, ingress: [{ from: [{ podSelector: {} }] }]'),
  ];
  const it = compiled(many, { names });
  assert.deepEqual([...it.sets.keys()].sort(), ['pods4-same', 'pods4-same-2', 'pods6-same', 'pods6-same-2']);
  assert.deepEqual([...it.chains.keys()].sort(), ['in-same', 'in-same-2']);
  const peer = parseAddress('10.0.0.3')!;
  const from = (name: string) =>
    passes(it, it.tagOf(it.world.pods.find(each => each.name === name)!)!, 'ingress', {
      peer,
      protocol: 'TCP',
      port: 1,
    });
  assert.deepEqual([from('web'), from('db')], [true, false]);
  assert.deepEqual(compiled(many.toReversed(), { names }).chains, it.chains);
});

test('a policy that the kernel refused closes the pods that it selects, and nobody else', () => {
  const it = compiled(small, { refused: new Set(['NetworkPolicy/a/db']) });
  assert.deepEqual(it.chains.get(gateOf(it, 'db').ingress)!.rules, []);
  assert.equal(gateOf(it, 'web').ingress, 'open');
});

test('a thousand policies for one pod are a handful of rules', () => {
  const spec = (i: number) =>
    `podSelector: {}, ingress: [{ from: [{ podSelector: { matchLabels: { client: c${i} } } }, { ipBlock: { cidr: 10.${i >> 8}.${i & 255}.0/25 } }], ports: [{ port: 80 }] }]`;
  const text = Array.from({ length: 1000 }, (_, i) => policy(`a/p${i}`, spec(i)));
  const it = compiled([
    pod('a/server', 'app: server', '10.0.0.1'),
    pod('a/client', 'client: c77', '10.255.0.1'),
    ...text,
  ]);
  const gate = gateOf(it, 'server').ingress;
  assert.ok(it.chains.get(gate)!.rules.length <= 3, `${it.chains.get(gate)!.rules.length} rules`);
  assert.ok([...it.sets.values()].every(({ comment }) => comment.length < 300));
  const tag = it.tagOf(it.world.pods[0]!)!;
  const gets = (text: string, port: number) =>
    passes(it, tag, 'ingress', { peer: parseAddress(text)!, protocol: 'TCP', port });
  assert.deepEqual(
    [
      gets('10.255.0.1', 80),
      gets('10.255.0.2', 80),
      gets('10.2.5.127', 80),
      gets('10.2.5.128', 80),
      gets('10.255.0.1', 81),
    ],
    [true, false, true, false, false],
  );
});

test('a thousand policies for one pod that have neither peers nor ports in common are one rule in each family', () => {
  const spec = (i: number) =>
    `podSelector: {}, ingress: [{ from: [{ podSelector: { matchLabels: { client: c${i} } } }], ports: [{ port: ${1000 + i} }] }]`;
  const text = Array.from({ length: 1000 }, (_, i) => policy(`a/p${i}`, spec(i)));
  const it = compiled([
    pod('a/server', 'app: server', '10.0.0.1'),
    pod('a/client', 'client: c77', '10.255.0.1'),
    pod('a/other', 'client: c78', '10.255.0.2'),
    ...text,
  ]);
  assert.equal(it.chains.get(gateOf(it, 'server').ingress)!.rules.length, 2);
  assert.equal(it.sets.size, 2);
  const tag = it.tagOf(it.world.pods[0]!)!;
  const gets = (peer: string, port: number) =>
    passes(it, tag, 'ingress', { peer: parseAddress(peer)!, protocol: 'TCP', port });
  assert.deepEqual(
    [gets('10.255.0.1', 1077), gets('10.255.0.1', 1078), gets('10.255.0.2', 1078), gets('10.255.0.3', 1078)],
    [true, false, true, false],
  );
});

test('wide ranges of ports stay rules of their own: each number would be an element', () => {
  const spec = (i: number) =>
    `podSelector: {}, ingress: [{ from: [{ podSelector: { matchLabels: { client: c${i} } } }], ports: [{ port: ${1000 + i}, endPort: ${2000 + i} }] }]`;
  const text = Array.from({ length: 20 }, (_, i) => policy(`a/p${i}`, spec(i)));
  const it = compiled([pod('a/server', 'app: server', '10.0.0.1'), ...text]);
  assert.equal(it.chains.get(gateOf(it, 'server').ingress)!.rules.length, 40);
});

test('a tag that the ruleset does not know is closed', () => {
  const packet = { peer: parseAddress('10.0.0.2')!, protocol: 'TCP', port: 80 } as const;
  assert.equal(passes(compiled(small), 0x7467fff0, 'ingress', packet), false);
});
