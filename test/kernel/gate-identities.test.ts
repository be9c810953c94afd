/** A thousand identities on one node, and contents whose hashes meet: who is who stays as clear as with two. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { desiredTable } from '../../lib/gate/desired.ts';
import { emptyNode, type NodeState, podKey, withPod } from '../../lib/gate/node-state.ts';
import { identitiesOfNode, rulesetOfNode, worldOfNode } from '../../lib/gate/node-world.ts';
import { diff } from '../../lib/nft/diff.ts';
import { PROTOCOL } from '../../lib/nft/statements.ts';
import { compile } from '../../lib/policy/compile/compile.ts';
import { Names } from '../../lib/policy/compile/names.ts';
import type { Ruleset } from '../../lib/policy/compile/ruleset.ts';
import { Cluster } from '../../lib/policy/evaluate/cluster.ts';
import { evaluate } from '../../lib/policy/evaluate/evaluate.ts';
import { readManifests } from '../../lib/policy/manifest/manifest.ts';
import type { World } from '../../lib/policy/model/model.ts';
import { isIdentity } from '../../lib/tag/tag.ts';
import type { Json } from '../support/cni.ts';
import { GateHost, type GatePod, localPod } from '../support/gate-host.ts';
import { pods, policy } from '../support/policy-host.ts';
import { arrivals, packetId } from '../support/wired-host.ts';
import { documentsOf } from '../support/worlds.ts';

const many = 1000;
const groups = 10;
const labelsOf = (i: number) => ({ id: String(i), group: String(i % groups) });

/** Group g may be called by the next group on port 80; each tenth pod may call nobody but the two after it. */
const manifests: readonly Json[] = [
  ...Array.from({ length: groups }, (_, g) =>
    policy(
      `group-${g}`,
      {
        ...pods({ group: String(g) }),
        policyTypes: ['Ingress'],
        ingress: [{ from: [pods({ group: String((g + 1) % groups) })], ports: [{ port: 80 }] }],
      },
      'test',
    ),
  ),
  ...Array.from({ length: many / 10 }, (_, i) => {
    const to = [1, 2].map(step => pods({ id: String(i * 10 + step) }));
    return policy(`tenth-${i}`, { ...pods({ id: String(i * 10) }), policyTypes: ['Egress'], egress: [{ to }] }, 'test');
  }),
];

/** Where the pods stand that have wires; all others have addresses only. */
const wired = [0, 1, 2, 11, 500, 999];

function podOf(i: number, host: GateHost): Omit<ReturnType<typeof localPod>, 'tag'> {
  const slot = wired.indexOf(i);
  const { tag: _, ...pod } = localPod(host.pods[Math.max(slot, 0)]!, 0, { labels: labelsOf(i) });
  const own =
    slot >= 0 ? {} : { link: `none${i}`, addresses: [`10.1.${i >> 8}.${i & 255}`, `fd01::${i.toString(16)}`] };
  return { ...pod, ...own, containerID: `c${i}`, name: `p${i}` };
}

function nodeOf(count: number, host: GateHost): NodeState {
  const settings = { judge: 'inline', nflogGroup: 7467, enforceEgressToNode: false } as const;
  let state = emptyNode({ enforcer: 'inline', stateDir: '/none', policies: '/none' }, settings);
  for (let i = 0; i < count; i++) state = withPod(state, podOf(i, host), () => false).state;
  return state;
}

const keyOf = (i: number): string => podKey({ network: 'test', containerID: `c${i}`, ifname: 'eth0' });

/** Each ordered pair of the wired pods, on two ports in both families, by a packet of its own. */
function assertAgrees(host: GateHost, state: NodeState, manifested: World): void {
  const world = worldOfNode(manifested, state);
  const cluster = new Cluster(world);
  const podNamed = (i: number) => world.pods.find(({ name }) => name === `p${i}`)!;
  for (const [slot, i] of wired.entries()) host.tag(host.pods[slot]!, state.pods[keyOf(i)]!.tag);
  host.forget();
  for (const { end } of host.pods) end.take();
  const probes = wired.flatMap((from, a) =>
    wired.flatMap((to, b) =>
      a === b ? [] : ([4, 6] as const).flatMap(family => [80, 81].map(port => ({ from, to, a, b, family, port }))),
    ),
  );
  const sent = probes.map((probe, i) => {
    const [from, to] = [host.pods[probe.a]!, host.pods[probe.b]!] as [GatePod, GatePod];
    const packet = {
      from: from.addresses[probe.family],
      to: to.addresses[probe.family],
      protocol: PROTOCOL.tcp,
      sport: 10_000 + i,
      dport: probe.port,
    };
    from.end.send(packet);
    return { ...probe, id: packetId(packet) };
  });
  host.settle();
  const arrived = host.pods.map(({ end }) => arrivals(end));
  const answers = new Set<boolean>();
  for (const { from, to, b, family, port, id } of sent) {
    const ends = { from: { kind: 'pod', pod: podNamed(from) }, to: { kind: 'pod', pod: podNamed(to) } } as const;
    const { allowed, egress, ingress } = evaluate(cluster, { ...ends, family, protocol: 'TCP', port });
    assert.equal(
      arrived[b]!.has(id),
      allowed,
      `p${from} to p${to}, IPv${family}, ${port}: ${egress.why}; ${ingress.why}`,
    );
    answers.add(allowed);
  }
  assert.equal(answers.size, 2, 'all were answered alike');
}

test('1,000 identities: 1,000 tags, and the kernel agrees with evaluate on each of those that have a wire', async () => {
  using host = await GateHost.start(wired.length);
  const state = nodeOf(many, host);
  const tags = Object.values(state.pods).map(({ tag }) => tag);
  assert.equal(new Set(tags).size, many);
  assert.ok(tags.every(isIdentity));
  const { world, problems } = readManifests(documentsOf(manifests));
  assert.deepEqual(problems, []);
  const table = desiredTable(state, 1, rulesetOfNode(world, state));
  host.bring(table);
  assertAgrees(host, state, world);
  // Another pod of an identity that is known changes no rule, no chain and no set but by its own elements.
  const twin = { ...podOf(7, host), containerID: 'twin', name: 'twin', addresses: ['10.2.0.7', 'fd02::7'] };
  const more = withPod(state, twin, () => false).state;
  const change = diff(table, desiredTable(more, 1, rulesetOfNode(world, more)));
  assert.deepEqual([...new Set(change.operations.map(({ verb, object }) => `${verb} ${object}`))], ['add element']);
});

test('where all hashes are the same, nothing is taken for anything else', async () => {
  using host = await GateHost.start(wired.length);
  const state = nodeOf(many, host);
  const { world } = readManifests(documentsOf(manifests));
  const names = new Names(() => '0123456789abcdef');
  const ruleset: Ruleset = compile(new Cluster(worldOfNode(world, state)), identitiesOfNode(state), { names });
  assert.ok(
    [...ruleset.chains.keys()].some(name => name.endsWith('-0123456789abcdef-2')),
    'hashes do meet',
  );
  assert.equal(ruleset.chains.size, rulesetOfNode(world, state).chains.size);
  host.bring(desiredTable(state, 1, ruleset));
  assertAgrees(host, state, world);
});
