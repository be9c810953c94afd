import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { matrixJson } from '../../../lib/cli/policy/matrix-json.ts';
import type { EvaluateOptions } from '../../../lib/policy/evaluate/evaluate.ts';
import { explain, matrix, parseEndpoint } from '../../../lib/policy/evaluate/matrix.ts';
import { MatrixJudge, parseTraffic, titleOf } from '../../../lib/policy/evaluate/matrix-judge.ts';
import { StagedMatrix } from '../../../lib/policy/evaluate/matrix-staged.ts';
import type { World } from '../../../lib/policy/model/model.ts';
import { caseOf, worldOfYaml } from '../../support/policy-cases.ts';
import { manifests, traffic, worldFrom } from '../../support/worlds.ts';

const onlyQ = 'ingress: [{ from: [{ podSelector: { matchLabels: { app: q } } }], ports: [{ port: 80 }] }]';
const http = { protocol: 'TCP', port: 80 } as const;

const asked: Readonly<Record<string, string | undefined>> = {
  '80/TCP': 'Who may open 80/TCP to whom',
  '53/udp': 'Who may open 53/UDP to whom',
  '80': 'Who may open 80/TCP to whom',
  icmp: 'Who may send traffic without ports to whom',
  ICMP: 'Who may send traffic without ports to whom',
  '0/TCP': undefined,
  '65536': undefined,
  '80/ICMP': undefined,
  'icmp/8': undefined,
};

for (const [text, title] of Object.entries(asked))
  test(`a port given as ${text} asks ${title === undefined ? 'nothing' : `"${title}"`}`, () => {
    const asks = parseTraffic(text);
    assert.equal(asks && titleOf(asks), title);
  });

test('matrix() has a row for each ordered pair of different pods and each family that both have', () => {
  const pod = (name: string, ips: string) =>
    `{ apiVersion: v1, kind: Pod, metadata: { name: ${name} }, status: { podIPs: [${ips}] } }`;
  const { world } = worldOfYaml(
    [
      pod('both', '{ ip: 10.0.0.1 }, { ip: "fd00::1" }'),
      pod('four', '{ ip: 10.0.0.2 }'),
      pod('six', '{ ip: "fd00::3" }'),
      pod('none', ''),
      '{ apiVersion: v1, kind: Pod, metadata: { name: done }, status: { podIP: 10.0.0.9, phase: Failed } }',
    ].join('\n---\n'),
  );
  const names = (text: string) => text.replace('default/', '');
  assert.deepEqual(
    [...matrix(world, http)].map(({ from, to, family }) => `${names(from)} ${names(to)} ${family}`).sort(),
    [
      'both four 4',
      'both none null',
      'both six 6',
      'four both 4',
      'four none null',
      'none both null',
      'none four null',
      'none six null',
      'six both 6',
      'six none null',
    ],
  );
});

test('matrix() rows say who allows and who denies, as the contract has it', () => {
  const { world } = caseOf(onlyQ, 'ingress: []');
  const rows = [...matrix(world, http)];
  const row = (from: string, to: string) =>
    rows.find(each => each.from === from && each.to === to && each.family === 4);
  const open = (who: string, direction: string) => ({
    allowed: true,
    by: [],
    why: `No policy isolates ${who} for ${direction}`,
  });
  assert.deepEqual(row('a/q', 'a/p'), {
    from: 'a/q',
    to: 'a/p',
    family: 4,
    protocol: 'TCP',
    port: 80,
    allowed: true,
    egress: open('a/q', 'egress'),
    ingress: { allowed: true, by: ['NetworkPolicy/a/p0'], why: 'NetworkPolicy/a/p0 ingress[0] allows TCP 80 from a/q' },
  });
  assert.deepEqual(row('a/r', 'a/p')!.ingress, {
    allowed: false,
    by: ['NetworkPolicy/a/p0', 'NetworkPolicy/a/p1'],
    why: 'NetworkPolicy/a/p0 and NetworkPolicy/a/p1 isolate a/p for ingress, and no rule allows TCP 80 from a/r',
  });
  assert.deepEqual(row('a/p', 'a/q')!.ingress, open('a/q', 'ingress'));
});

test('a direction that is allowed names every policy with a matching rule, once', () => {
  const { world } = caseOf(onlyQ, 'ingress: [{}, { ports: [{ port: 80 }] }]', 'ingress: [{ ports: [{ port: 81 }] }]');
  const [row] = explain(world, { from: parseEndpoint(world, 'a/q')!, to: parseEndpoint(world, 'a/p')!, ...http });
  assert.deepEqual(row!.ingress.by, ['NetworkPolicy/a/p0', 'NetworkPolicy/a/p1']);
});

const reasons: readonly (readonly [string, string, 'egress' | 'ingress', RegExp])[] = [
  ['node', 'a/p', 'ingress', /always reachable from its own node/],
  ['a/p', 'node', 'egress', /enforceEgressToNode is off/],
  ['203.0.113.9', 'a/p', 'egress', /203\.0\.113\.9 is no pod/],
  ['a/p', 'a/p', 'ingress', /always reaches itself/],
  ['a/host', 'a/p', 'egress', /on its node's network is no pod/],
];

for (const [from, to, direction, why] of reasons)
  test(`explain() says of ${direction} from ${from} to ${to}: ${why.source}`, () => {
    const { world } = caseOf('policyTypes: [Ingress, Egress]');
    const rows = explain(world, { from: parseEndpoint(world, from)!, to: parseEndpoint(world, to)!, ...http });
    assert.ok(rows.length > 0);
    for (const row of rows) assert.match(row[direction].why, why);
  });

test('explain() has one row for an address, in its family, and canonical', () => {
  const { world } = caseOf(onlyQ);
  const rows = explain(world, { from: parseEndpoint(world, 'FD00:0::2')!, to: parseEndpoint(world, 'a/p')!, ...http });
  assert.deepEqual(
    rows.map(({ from, family, allowed }) => [from, family, allowed]),
    [['fd00::2', 6, true]],
  );
});

test('parseEndpoint() knows pods, addresses and the node, and nothing else', () => {
  const { world } = caseOf(onlyQ);
  assert.equal(parseEndpoint(world, 'a/nobody'), undefined);
  assert.equal(parseEndpoint(world, 'q'), undefined);
  assert.deepEqual(parseEndpoint(world, 'node'), { kind: 'node' });
});

const oneByOne = (world: World, what: (typeof traffic)[number], options: EvaluateOptions) =>
  world.pods
    .filter(({ finished }) => !finished)
    .flatMap((from, _, alive) =>
      alive.flatMap(to =>
        from === to
          ? []
          : explain(world, { from: { kind: 'pod', pod: from }, to: { kind: 'pod', pod: to }, ...what }, options),
      ),
    );

test('matrix() says what explain() says of each pair, word by word', () => {
  fc.assert(
    fc.property(
      manifests({ clusterPolicies: 3, isStaged: true }),
      fc.constantFrom(...traffic),
      fc.boolean(),
      (list, what, enforceEgressToNode) => {
        const world = worldFrom(list);
        const rows = oneByOne(world, what, { enforceEgressToNode });
        assert.deepEqual([...matrix(world, what, { enforceEgressToNode })], rows);
        const judge = new StagedMatrix(world, what, { enforceEgressToNode });
        assert.equal([...matrixJson(judge)].join(''), `${JSON.stringify(rows, null, 2)}\n`);
      },
    ),
    { numRuns: 300 },
  );
});

test('ten times as many pods of the same labels ask no rule more often', () => {
  const asked = (number: number): number => {
    const { world } = caseOf(onlyQ, 'ingress: [{ from: [{ ipBlock: { cidr: 10.0.0.0/8 } }] }]');
    const copies = Array.from({ length: number }, (_, i) =>
      world.pods.map(pod => ({
        ...pod,
        name: `${pod.name}-${i}`,
        addresses: pod.addresses.length === 0 ? [] : [`10.9.${i}.${pod.name.charCodeAt(0)}`],
      })),
    );
    const judge = new MatrixJudge({ ...world, pods: copies.flat() }, http);
    const pairs = [...judge].length;
    assert.ok(pairs > number * number, `only ${pairs} pairs`);
    return judge.asked;
  };
  assert.equal(asked(20), asked(2));
});
