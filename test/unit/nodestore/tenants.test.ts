/** What the folder says of one namespace costs the pods of no other. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Kept, manifestsOf, worldAbout } from '../../../lib/nodestore/policy-folder.ts';
import { compile } from '../../../lib/policy/compile/compile.ts';
import { countReads } from '../../support/counted-reads.ts';
import { localPods, manifests, tagged, worldFrom } from '../../support/worlds.ts';

const keptOf = (values: readonly unknown[], isList = false): Kept => {
  const all = isList ? [{ apiVersion: 'v1', kind: 'List', items: values }] : values;
  return { 'f.json': { stamp: '1', documents: all.map((value, document) => ({ file: 'f', document, value })) } };
};

const policy = (namespace: string, blocks: number) => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: 'np', namespace },
  spec: {
    podSelector: {},
    ingress: [{ from: Array.from({ length: blocks }, (_, i) => ({ ipBlock: { cidr: `10.0.${i}.0/24` } })) }],
  },
});

for (const isList of [false, true])
  test(`of a policy in a namespace without pods here no rule is read${isList ? ', in a list either' : ''}`, () => {
    const reads = (blocks: number): number => {
      const other = countReads(policy('evil', blocks));
      const world = worldAbout(keptOf([other.value, policy('good', 1)], isList), ['good']);
      assert.deepEqual(
        world.policies.map(({ namespace }) => namespace),
        ['good'],
      );
      return other.reads();
    };
    assert.equal(reads(200), reads(1));
  });

test('who asks for a namespace more gets it, and who asks for fewer gets the same world again', () => {
  const kept = keptOf([policy('a', 1), policy('b', 1)]);
  assert.equal(worldAbout(kept, ['a']).policies.length, 1);
  const both = worldAbout(kept, ['b']);
  assert.equal(both.policies.length, 2);
  assert.equal(worldAbout(kept, ['a']), both);
});

test('identities have the gates that all the manifests together give them', () => {
  fc.assert(
    fc.property(manifests(), fc.boolean(), (list, isList) => {
      const { identities } = tagged(localPods(worldFrom(list)));
      for (const namespace of new Set(identities.map(({ identity }) => identity.namespace))) {
        const own = identities.filter(({ identity }) => identity.namespace === namespace);
        const world = worldAbout(keptOf(list, isList), [namespace]);
        assert.deepEqual(compile(world, own), compile(manifestsOf(keptOf(list, isList)).world, own));
      }
    }),
    { numRuns: 200 },
  );
});
