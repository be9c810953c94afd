/**
 * One truth, three ways, over random worlds: what `evaluate` says of a flow, what a tracer finds in the
 * table's value, and what the kernel does to a packet. `test/unit/policy/agreement.test.ts` holds evaluate
 * against the ruleset that the table is made of.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { desiredTable } from '../../lib/gate/desired.ts';
import { CT_STATE, TCP_FLAG } from '../../lib/nft/statements.ts';
import { GateHost } from '../support/gate-host.ts';
import { type Packet as Traced, tracerOf } from '../support/nft-tracer.ts';
import { PacketWorld, protocolOf, tagAt } from '../support/packet-world.ts';
import { NodeWorld, type WorldFlow } from '../support/world-flows.ts';
import { type Manifest, manifests, withOwnNode } from '../support/worlds.ts';

const isEnforced = fc.boolean();
/** Rules are looked up at once from so many on. */
const apart = fc.constantFrom(undefined, 1);
const tiered = manifests({ policies: 4, clusterPolicies: 4 }).map(withOwnNode);

const told = ({ from, to, protocol, port }: WorldFlow): string =>
  `${protocol} ${port} from ${from.address} (${from.place.kind}) to ${to.address} (${to.place.kind})`;

/** Allowed and denied, by family, protocol and kind of ends, so that worlds that grew dull are seen. */
type Seen = Map<string, number>;
const count = (seen: Seen, { family, protocol, from, to, throughService }: WorldFlow, isAllowed: boolean): void => {
  const whom = throughService ? 'itself' : to.place.kind;
  const kind = `${from.place.kind} ${isAllowed ? '->' : '-|'} ${whom}, IPv${family} ${protocol}`;
  seen.set(kind, (seen.get(kind) ?? 0) + 1);
};

/** Nothing of what a gate must tell apart may be missing: both answers for each kind of traffic in each family. */
function assertNotDull(seen: Seen): void {
  for (const ways of ['pod -> pod', 'pod -| pod', 'pod -> beyond', 'pod -| beyond', 'beyond -> pod', 'beyond -| pod'])
    for (const protocol of ['TCP', 'UDP', 'SCTP', 'other'])
      for (const family of [4, 6]) assert.ok(seen.has(`${ways}, IPv${family} ${protocol}`), `${ways} ${protocol}`);
  for (const ways of ['node -> pod', 'pod -> node', 'pod -| node'])
    assert.ok(
      [...seen.keys()].some(key => key.startsWith(ways)),
      ways,
    );
}

/** The first packet of the flow, as the hook sees it that its way leads through. */
function tracedPacket(flow: WorldFlow): Traced {
  const { from, to, family, port } = flow;
  const l4proto = protocolOf(flow);
  const ports = flow.protocol === 'other' ? { icmpType: family === 4 ? 8 : 128 } : { sport: 40_000, dport: port };
  return {
    family,
    saddr: from.at.value,
    daddr: to.at.value,
    l4proto,
    ...ports,
    ...(flow.protocol === 'TCP' ? { tcpFlags: TCP_FLAG.syn } : {}),
    hoplimit: 63,
    ctState: CT_STATE.new,
    ...(from.place.kind === 'node' ? {} : { iif: 2, iifgroup: tagAt(from) }),
    ...(to.place.kind === 'node' ? {} : { oif: 3, oifgroup: tagAt(to) }),
  };
}

/** What cluster policies add: the own node and a pod itself are judged, too. */
function assertTiersNotDull(seen: Seen): void {
  assertNotDull(seen);
  for (const ways of ['pod -> node', 'pod -| node', 'pod -> itself', 'pod -| itself'])
    for (const family of [4, 6]) assert.ok(seen.has(`${ways}, IPv${family} TCP`), ways);
}

/** A part of the flows in each world; which part is another one in the next. */
function agreeAsValues(
  worlds: fc.Arbitrary<readonly Manifest[]>,
  count: (flow: WorldFlow, isAllowed: boolean) => void,
): void {
  fc.assert(
    fc.property(worlds, isEnforced, apart, fc.nat(2), (list, enforceEgressToNode, most, turn) => {
      const world = new NodeWorld(list, enforceEgressToNode, most);
      const trace = tracerOf(desiredTable(world.state, 1, world.ruleset));
      let n = turn;
      for (const flow of world.flows()) {
        if (n++ % 3 !== 0) continue;
        const expected = world.isAllowed(flow);
        const hook = flow.to.place.kind === 'node' ? 'input' : 'postrouting';
        assert.equal(trace(hook, tracedPacket(flow)).verdict, expected ? 'accept' : 'drop', told(flow));
        count(flow, expected);
      }
    }),
    { numRuns: 2000 },
  );
}

async function agreeWithTheKernel(
  worlds: fc.Arbitrary<readonly Manifest[]>,
  numRuns: number,
  count: (flow: WorldFlow, isAllowed: boolean) => void,
): Promise<void> {
  using host = await GateHost.start(6);
  const packets = new PacketWorld(host);
  fc.assert(
    fc.property(worlds, isEnforced, apart, (list, enforceEgressToNode, most) => {
      const world = new NodeWorld(list, enforceEgressToNode, most);
      packets.become(world);
      const flows = [...world.flows()];
      const passed = packets.probe(flows);
      for (const flow of flows) {
        const expected = world.isAllowed(flow);
        assert.equal(passed.has(flow), expected, told(flow));
        count(flow, expected);
      }
    }),
    { numRuns },
  );
}

test('evaluate and the table as a value agree over 2,000 random worlds', () => {
  const seen: Seen = new Map();
  agreeAsValues(manifests(), (flow, isAllowed) => count(seen, flow, isAllowed));
  assertNotDull(seen);
});

test('they agree over 2,000 random worlds with policies of all tiers', () => {
  const seen: Seen = new Map();
  agreeAsValues(tiered, (flow, isAllowed) => count(seen, flow, isAllowed));
  assertTiersNotDull(seen);
});

test('evaluate and the kernel agree over 100 random worlds, every ordered pair and kind of traffic by a packet of its own', async () => {
  const seen: Seen = new Map();
  await agreeWithTheKernel(manifests(), 100, (flow, isAllowed) => count(seen, flow, isAllowed));
  assertNotDull(seen);
});

test('they agree over 120 random worlds with policies of all tiers', async () => {
  const seen: Seen = new Map();
  // One world in eight denies a pod its node: sixty may well be dull.
  await agreeWithTheKernel(tiered, 120, (flow, isAllowed) => count(seen, flow, isAllowed));
  assertTiersNotDull(seen);
});

const noPodsOfThese: Manifest = {
  ...{ apiVersion: 'policy.networking.k8s.io/v1alpha2', kind: 'ClusterNetworkPolicy', metadata: { name: 'elsewhere' } },
  spec: {
    ...{ tier: 'Admin', priority: 1, subject: { namespaces: { matchLabels: { nobody: 'here' } } } },
    ingress: [{ action: 'Deny', from: [{ namespaces: {} }] }],
  },
};

test('a node of whose pods no cluster policy selects any has the table that it has without them', () => {
  fc.assert(
    fc.property(manifests(), isEnforced, (list, enforceEgressToNode) => {
      const [without, beside] = [list, [...list, noPodsOfThese]].map(each => new NodeWorld(each, enforceEgressToNode));
      assert.deepEqual(
        desiredTable(beside!.state, 1, beside!.ruleset),
        desiredTable(without!.state, 1, without!.ruleset),
      );
    }),
    { numRuns: 100 },
  );
});
