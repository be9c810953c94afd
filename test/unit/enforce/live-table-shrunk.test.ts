/** Whose connections the agent looks at after a change: all that it may have forbidden, and not everybody's. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LiveTable } from '../../../lib/enforce/live-table.ts';
import { worldOfNode } from '../../../lib/gate/node-world.ts';
import { type CutScope, mergedScopes } from '../../../lib/gate/shrunk.ts';
import { formatAddress, parseAddress } from '../../../lib/ip/address.ts';
import { LiveRules } from '../../../lib/policy/compile/live.ts';
import { Cluster } from '../../../lib/policy/evaluate/cluster.ts';
import { evaluate } from '../../../lib/policy/evaluate/evaluate.ts';
import type { Pod, World } from '../../../lib/policy/model/model.ts';
import { Kernel } from '../../support/fake-nft.ts';
import { MapStore } from '../../support/map-store.ts';
import { hear, remotePods, turned } from '../../support/turning-worlds.ts';
import { localPods, manifests, outside, traffic, worldFrom } from '../../support/worlds.ts';

/** A table that goes from world to world. */
class Room {
  readonly rules = new LiveRules();
  #shrunk: CutScope = [];
  readonly table = new LiveTable({
    ...{ store: new MapStore(), rules: this.rules, nft: new Kernel().nft, own: true },
    owner: { enforcer: 'agent', stateDir: '/state', policies: '/policies' },
    settings: { judge: 'agent', nflogGroup: 7467, enforceEgressToNode: false },
    ...{ log: () => {}, retag: () => {}, recover: () => ({}), isCarried: () => false },
    shrunk: scope => {
      this.#shrunk = mergedScopes(this.#shrunk, scope);
    },
  });

  async turn(before: World | undefined, after: World): Promise<CutScope> {
    hear(this.rules, before, after);
    this.#shrunk = [];
    await this.table.bring(state => turned(state, after));
    return this.#shrunk;
  }

  /** As the agent sees it: its own pods are those that are plugged in. */
  cluster(world: World): Cluster {
    return new Cluster(worldOfNode({ ...world, pods: remotePods(world) }, this.table.state));
  }
}

const textOf = (scope: CutScope): ReadonlySet<string> =>
  new Set(scope === 'everywhere' ? [] : scope.map(formatAddress));

/** Each with its pod: what a pod leaves behind DEL forgets, whoever gets the address next. */
const addressesOf = ({ namespace, name, addresses }: Pod): readonly string[] =>
  addresses.map(address => `${namespace}/${name} ${address}`);

/** Addresses of the node itself are the table's matter, and connections of it are never judged. */
const nodesOwn = (...worlds: readonly World[]): ReadonlySet<string> =>
  new Set(worlds.flatMap(({ pods }) => pods.filter(pod => pod.hostNetwork).flatMap(({ addresses }) => addresses)));

/** A world, the same without one of its manifests, and another one: small changes and large ones. */
const worldsInTurn: fc.Arbitrary<readonly World[]> = fc
  .tuple(manifests(), fc.nat(), manifests())
  .map(([list, i, other]) => [list, list.filter((_, at) => at !== i % list.length), list, other].map(worldFrom));

test('whatever was allowed and is forbidden now is among the connections that are looked at; of all are none', async () => {
  const seen = { forbidden: 0, kept: 0 };
  const property = fc.asyncProperty(worldsInTurn, async worlds => {
    const room = new Room();
    await room.turn(undefined, worlds[0]!);
    for (const [i, after] of worlds.slice(1).entries()) {
      const before = worlds[i]!;
      const [was, stayed] = [room.cluster(before), new Set(localPods(before).flatMap(addressesOf))];
      const scope = await room.turn(before, after);
      assert.notEqual(scope, 'everywhere');
      const looked = textOf(scope);
      const is = room.cluster(after);
      const own = nodesOwn(before, after);
      const locals = localPods(after)
        .flatMap(addressesOf)
        .filter(named => stayed.has(named))
        .map(named => named.split(' ')[1]!);
      const others = [...new Set([...before.pods, ...after.pods].flatMap(({ addresses }) => addresses)), ...outside];
      for (const local of locals)
        for (const other of others.filter(text => text !== local && !own.has(text) && !own.has(local))) {
          const family = parseAddress(local)!.family;
          if (parseAddress(other)!.family !== family) continue;
          // The gate here is this pod's: what the other end's says is looked at where that is the pod here.
          for (const direction of ['egress', 'ingress'] as const)
            for (const { protocol, port } of traffic) {
              const [self, peer] = [local, other].map(address => ({ kind: 'address', address }) as const);
              const ends = direction === 'egress' ? { from: self!, to: peer! } : { from: peer!, to: self! };
              const flow = { ...ends, family, protocol, port };
              const [earlier, now] = [was, is].map(cluster => evaluate(cluster, flow)[direction].allowed);
              if (!earlier) continue;
              const isLookedAt = looked.has(local) || looked.has(other);
              if (now) seen.kept += isLookedAt ? 0 : 1;
              else {
                assert.ok(
                  isLookedAt,
                  `${direction}, ${protocol} ${port}, ${local} and ${other}: ${[...looked].join()}`,
                );
                seen.forbidden++;
              }
            }
        }
    }
  });
  // Of a hundred worlds some 400 are forbidden, but by chance also less than 200.
  await fc.assert(property, { numRuns: 300 });
  assert.ok(seen.forbidden > 200 && seen.kept > 200, JSON.stringify(seen));
});
