/** Many flows judged at a time: the same answers as one by one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Family, parseAddress } from '../../../lib/ip/address.ts';
import { Cluster } from '../../../lib/policy/evaluate/cluster.ts';
import { evaluate } from '../../../lib/policy/evaluate/evaluate.ts';
import { FlowJudge } from '../../../lib/policy/evaluate/flow-judge.ts';
import type { Endpoint } from '../../../lib/policy/model/model.ts';
import { manifests, outside, traffic, worldFrom } from '../../support/worlds.ts';

const families: readonly Family[] = [4, 6];

test('what the judge of many says of two ends is what evaluate() says of each flow between them', () => {
  const seen = { allowed: 0, denied: 0 };
  const property = fc.property(manifests(), fc.boolean(), (list, enforceEgressToNode) => {
    const world = worldFrom(list);
    const cluster = new Cluster(world);
    const judge = new FlowJudge(cluster, { enforceEgressToNode });
    for (const family of families) {
      const texts = [...world.pods.flatMap(({ addresses }) => addresses), ...outside];
      const ends: readonly Endpoint[] = [
        ...texts
          .filter(text => parseAddress(text)!.family === family)
          .map(address => ({ kind: 'address', address }) as const),
        { kind: 'node' },
      ];
      for (const from of ends)
        for (const to of ends) {
          if (from.kind === 'node' && to.kind === 'node') continue;
          const verdict = judge.between(from, to, family);
          for (const { protocol, port } of traffic) {
            const flow = { from, to, family, protocol, port };
            const { allowed, egress, ingress } = evaluate(cluster, flow, { enforceEgressToNode });
            assert.equal(verdict(protocol, port), allowed, `${egress.why}; ${ingress.why}`);
            seen[allowed ? 'allowed' : 'denied']++;
          }
        }
    }
  });
  fc.assert(property, { numRuns: 150 });
  assert.ok(seen.allowed > 1000 && seen.denied > 1000, JSON.stringify(seen));
});
