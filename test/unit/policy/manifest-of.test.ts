import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readManifests } from '../../../lib/policy/manifest/manifest.ts';
import {
  namespaceManifest,
  nodeManifest,
  podManifest,
  policyManifest,
} from '../../../lib/policy/manifest/manifest-of.ts';
import type { NetworkPolicy, World } from '../../../lib/policy/model/model.ts';
import { documentsOf, type Manifest, manifests, worldFrom } from '../../support/worlds.ts';

const back = (list: readonly Manifest[]): World => {
  const { world, problems } = readManifests(documentsOf(list));
  assert.deepEqual(problems, []);
  return world;
};

const withoutSource = ({ source: _, ...policy }: NetworkPolicy): NetworkPolicy => policy;

test('a world that is written as manifests is read as the same world', () => {
  fc.assert(
    fc.property(manifests().map(worldFrom), world => {
      const written = [
        ...[...world.namespaces].map(([name, labels]) => namespaceManifest(name, labels)),
        ...world.pods.map(podManifest),
        ...world.policies.map(policyManifest),
      ];
      const read = back(written);
      const plain = world.pods.map(({ local: _, ...pod }) => pod);
      assert.deepEqual(read.pods, plain);
      assert.deepEqual([...read.namespaces], [...world.namespaces]);
      assert.deepEqual(read.policies.map(withoutSource), world.policies.map(withoutSource));
    }),
    { numRuns: 500 },
  );
});

test('what is left of an invalid rule selects nobody, in its own place', () => {
  const policy: NetworkPolicy = {
    ...{ kind: 'NetworkPolicy', namespace: 'a', name: 'p', subject: { requirements: [] } },
    ingress: [
      { index: 1, peers: [], ports: 'any' },
      { index: 2, peers: 'any', ports: [] },
      { index: 3, peers: 'any', ports: [{ protocol: 'TCP', first: 80, last: 80 }] },
    ],
  };
  const [read] = back([policyManifest(policy)]).policies;
  assert.deepEqual(
    read!.ingress!.map(({ index }) => index),
    [0, 1, 2, 3],
  );
  for (const rule of read!.ingress!.slice(0, 3)) {
    assert.ok(Array.isArray(rule.peers));
    assert.deepEqual(
      rule.peers.map(
        peer => peer.kind === 'pods' && peer.pods.requirements.map((each: { operator: string }) => each.operator),
      ),
      [['Exists', 'DoesNotExist']],
    );
  }
});

test('a node keeps its addresses', () => {
  const node = { name: 'n', labels: new Map([['a', 'b']]), addresses: ['192.0.2.1', '2001:db8::1'] };
  assert.deepEqual(back([nodeManifest(node)]).nodes, [node]);
});
