/**
 * Random worlds with all tiers: `evaluate` beside a second telling of the same meaning,
 * and whatever its reasons name is to blame.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Family, parseAddress } from '../../../lib/ip/address.ts';
import { Cluster } from '../../../lib/policy/evaluate/cluster.ts';
import { evaluate } from '../../../lib/policy/evaluate/evaluate.ts';
import { FlowJudge } from '../../../lib/policy/evaluate/flow-judge.ts';
import { matrix } from '../../../lib/policy/evaluate/matrix.ts';
import { withoutRule } from '../../../lib/policy/explain/cluster-remedy.ts';
import {
  type Direction,
  type Endpoint,
  type Flow,
  type Pod,
  policyRef,
  type RuleRef,
  type World,
} from '../../../lib/policy/model/model.ts';
import { type Asked, Reference, type Side } from '../../support/reference.ts';
import { type Manifest, manifests, outside, traffic, worldFrom } from '../../support/worlds.ts';

const sized = { policies: 3, clusterPolicies: 5 };
const directions: readonly Direction[] = ['egress', 'ingress'];

/** One end of a flow for both judges. */
interface End {
  readonly endpoint: Endpoint;
  readonly side: Side;
  readonly node?: string;
}

const familyOf = (text: string): Family => parseAddress(text)!.family;

/** The ends that a world has in one family: pods that have an address of it, each only once; addresses outside, nodes. */
function endsIn(list: readonly Manifest[], world: World, family: Family): readonly End[] {
  const manifestOf = ({ namespace, name }: Pod): Manifest =>
    list.find(({ kind, metadata }) => {
      const its = metadata as { readonly namespace: string; readonly name: string };
      return kind === 'Pod' && its.namespace === namespace && its.name === name;
    })!;
  const pods = world.pods
    .filter(({ finished }) => !finished)
    .flatMap((pod): End[] => {
      const address = pod.addresses.find(text => familyOf(text) === family);
      if (address === undefined) return [];
      const side = { pod: manifestOf(pod), address };
      return [{ endpoint: { kind: 'pod', pod }, side, ...(pod.hostNetwork ? { node: pod.nodeName! } : {}) }];
    });
  const beyond = outside
    .filter(text => familyOf(text) === family)
    .map((address): End => ({ endpoint: { kind: 'address', address }, side: { address } }));
  const nodes = (world.nodes ?? []).flatMap(({ name, addresses }): End[] => {
    const address = addresses.find(text => familyOf(text) === family);
    return address === undefined ? [] : [{ endpoint: { kind: 'address', address }, side: { address }, node: name }];
  });
  return [...pods, ...beyond, ...nodes];
}

/** What the second telling says of one direction; undefined where the subject is no pod with an interface of its own. */
function referred(
  reference: Reference,
  subject: End,
  peer: End,
  asked: Pick<Asked, 'direction' | 'protocol' | 'port' | 'enforceEgressToNode' | 'throughService'>,
): boolean {
  if (subject.endpoint.kind !== 'pod' || subject.endpoint.pod.hostNetwork) return true;
  const isOwnNode = peer.node !== undefined && peer.node === subject.endpoint.pod.nodeName;
  return reference.allows({ subject: subject.side, peer: { ...peer.side, isOwnNode }, ...asked });
}

type Seen = Map<string, number>;
const count = (seen: Seen, what: string): Seen => seen.set(what, (seen.get(what) ?? 0) + 1);

function* flowsIn(
  list: readonly Manifest[],
  world: World,
  turn: number,
): Generator<{ readonly flow: Flow; readonly from: End; readonly to: End }> {
  let n = turn;
  for (const family of [4, 6] as const) {
    const ends = endsIn(list, world, family);
    for (const from of ends)
      for (const to of ends) {
        if (from === to && from.endpoint.kind !== 'pod') continue;
        const { protocol, port } = traffic[n++ % traffic.length]!;
        const service = from === to && n % 2 === 0 ? { throughService: true } : {};
        yield { flow: { from: from.endpoint, to: to.endpoint, family, protocol, port, ...service }, from, to };
      }
  }
}

test('evaluate agrees with a second telling of the same meaning over 2,000 random worlds with all tiers', () => {
  const seen: Seen = new Map();
  fc.assert(
    fc.property(manifests(sized), fc.nat(100), fc.boolean(), (list, turn, enforceEgressToNode) => {
      const world = worldFrom(list);
      const reference = new Reference(list);
      for (const { flow, from, to } of flowsIn(list, world, turn)) {
        const { protocol, port, throughService = false } = flow;
        const verdict = evaluate(world, flow, { enforceEgressToNode });
        const how = { protocol, port, enforceEgressToNode, throughService };
        const expected = {
          egress: referred(reference, from, to, { direction: 'egress', ...how }),
          ingress: referred(reference, to, from, { direction: 'ingress', ...how }),
        };
        for (const direction of directions) {
          const { allowed, tier, why, passed } = verdict[direction];
          assert.equal(allowed, expected[direction], `${direction}: ${why}`);
          count(seen, `${direction} ${allowed ? 'allowed' : 'denied'} by ${tier ?? 'nobody'}`);
          if (passed.length > 0) count(seen, `${direction} passed on`);
          if (throughService) count(seen, `through a Service ${allowed ? 'allowed' : 'denied'}`);
        }
      }
    }),
    { numRuns: 2000 },
  );
  const tiers = ['Admin', 'NetworkPolicy', 'Baseline'].flatMap(tier => [`allowed by ${tier}`, `denied by ${tier}`]);
  const each = directions.flatMap(direction => [...tiers, 'passed on'].map(what => `${direction} ${what}`));
  for (const what of [...each, 'through a Service denied', 'through a Service allowed'])
    assert.ok((seen.get(what) ?? 0) >= 200, `${what} came up ${seen.get(what) ?? 0} times`);
});

test('the judge of many flows and the matrix say what evaluate says, with all tiers', () => {
  fc.assert(
    fc.property(manifests(sized), fc.nat(100), fc.boolean(), (list, turn, enforceEgressToNode) => {
      const world = worldFrom(list);
      const judge = new FlowJudge(new Cluster(world), { enforceEgressToNode });
      for (const { flow } of flowsIn(list, world, turn)) {
        if (flow.throughService) continue;
        const { allowed, egress, ingress } = evaluate(world, flow, { enforceEgressToNode });
        const verdict = judge.between(flow.from, flow.to, flow.family);
        assert.equal(verdict(flow.protocol, flow.port), allowed, `${egress.why}; ${ingress.why}`);
      }
      const what = traffic[turn % traffic.length]!;
      const find = (text: string): Endpoint => {
        const [namespace, name] = text.split('/');
        return { kind: 'pod', pod: world.pods.find(pod => pod.namespace === namespace && pod.name === name)! };
      };
      for (const row of matrix(world, what, { enforceEgressToNode })) {
        const flow = { from: find(row.from), to: find(row.to), family: row.family, ...what };
        const { allowed, egress, ingress } = evaluate(world, flow, { enforceEgressToNode });
        assert.deepEqual([row.allowed, row.egress.why, row.ingress.why], [allowed, egress.why, ingress.why]);
      }
    }),
    { numRuns: 300 },
  );
});

test('a rule of a cluster policy that a verdict names, taken out, changes the verdict or its reason; one that it does not name never does', () => {
  const seen: Seen = new Map();
  fc.assert(
    fc.property(manifests(sized), fc.nat(100), (list, turn) => {
      const world = worldFrom(list);
      const all = world.clusterPolicies!.flatMap(policy =>
        directions.flatMap(direction =>
          policy[direction].map(({ index }): RuleRef => ({ policy: policyRef(policy), direction, index })),
        ),
      );
      let n = turn;
      for (const { flow } of flowsIn(list, world, turn)) {
        const verdict = evaluate(world, flow);
        const some = all[n++ % Math.max(1, all.length)];
        for (const direction of directions) {
          const { rules, passed, tier, allowed, why } = verdict[direction];
          const named = tier === 'NetworkPolicy' ? passed : [...passed, ...rules];
          for (const rule of named) {
            const other = evaluate(withoutRule(world, rule), flow)[direction];
            assert.notDeepEqual([other.allowed, other.why], [allowed, why]);
            count(seen, `${direction} by ${tier ?? 'nobody'}`);
          }
          const isNamed = named.some(
            each => each.policy === some?.policy && each.direction === some.direction && each.index === some.index,
          );
          if (!some || isNamed) continue;
          assert.deepEqual(evaluate(withoutRule(world, some), flow)[direction], verdict[direction]);
          count(seen, 'not named');
        }
      }
    }),
    { numRuns: 500 },
  );
  // The rarest come up some 35 times, and by chance also less than 10 times.
  for (const direction of directions)
    for (const tier of ['Admin', 'NetworkPolicy', 'Baseline', 'nobody'])
      assert.ok(
        (seen.get(`${direction} by ${tier}`) ?? 0) >= 3,
        `${direction} by ${tier}: ${seen.get(`${direction} by ${tier}`)}`,
      );
  assert.ok(seen.get('not named')! > 1000);
});
