/** API objects as they are read: what is odd in them is told, and what was meant is understood. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatPrefix } from '../../../lib/ip/address.ts';
import { createFold } from '../../../lib/kube/fold.ts';
import { createIntern } from '../../../lib/kube/intern.ts';
import { isNoOlder, networkPolicies, nodes, type ObjectProblem, readPod } from '../../../lib/kube/object.ts';
import { readDocuments } from '../../../lib/policy/manifest/manifest.ts';
import { policyManifest } from '../../../lib/policy/manifest/manifest-of.ts';
import { sourceText } from '../../../lib/policy/model/model.ts';
import { formatProblem } from '../../../lib/policy/model/problem.ts';

function reading() {
  const complaints: ObjectProblem[] = [];
  return { complaints, intern: createIntern(), report: (each: ObjectProblem) => void complaints.push(each) };
}

test("leading zeros in a node's pod CIDRs and addresses mean decimal, with a warning; what is no CIDR is an error", () => {
  const how = reading();
  const node = nodes.read(
    {
      metadata: { name: 'n1' },
      spec: { podCIDR: '010.244.001.0/024', podCIDRs: ['010.244.001.0/024', 'fd00:0244::/64', 'none'] },
      status: { addresses: [{ type: 'InternalIP', address: '192.000.002.001' }] },
    },
    how,
  )!;
  assert.deepEqual(node.podCidrs.map(formatPrefix), ['10.244.1.0/24', 'fd00:244::/64']);
  assert.deepEqual(node.addresses, ['192.0.2.1']);
  assert.deepEqual(how.complaints.map(({ severity, field }) => [severity, field]).sort(), [
    ['error', 'spec.podCIDRs[2]'],
    ['warning', 'spec.podCIDRs[0]'],
    ['warning', 'status.addresses[0].address'],
  ]);
});

for (const [a, b, isNot] of [
  ['7', '7', true],
  ['10', '9', true],
  ['9', '10', false],
  ['18446744073709551616', '18446744073709551615', true],
  ['b', 'a', false],
  ['b', 'b', true],
  [undefined, '7', false],
] as const)
  test(`an object of version ${a} is ${isNot ? 'no older than' : 'not known to be as new as'} that of version ${b}`, () => {
    const versioned = (resourceVersion: string | undefined) =>
      resourceVersion === undefined ? {} : { resourceVersion };
    assert.equal(isNoOlder(versioned(a), versioned(b)), isNot);
  });

test("leading zeros in a pod's addresses mean decimal", () => {
  const how = reading();
  const status = { podIP: '010.0.0.7', podIPs: [{ ip: '010.0.0.7' }] };
  assert.deepEqual(readPod({ metadata: { namespace: 'a', name: 'p' }, status }, how)?.addresses, ['10.0.0.7']);
  assert.deepEqual([...new Set(how.complaints.map(({ severity }) => severity))], ['warning']);
});

test('a policy of the API is named by its newest resourceVersion, and a change of nothing else is no news', () => {
  const told: unknown[] = [];
  const fold = createFold(networkPolicies, change => told.push(change));
  for (const resourceVersion of ['7', '8'])
    fold.apply({
      ...{ type: 'set', resourceVersion },
      object: networkPolicies.read(
        { metadata: { namespace: 'a', name: 'p', resourceVersion }, spec: { podSelector: {} } },
        reading(),
      )!,
    });
  assert.equal(told.length, 1);
  const [policy] = [...fold.objects()];
  const value = policyManifest(policy!);
  const api = { file: 'the Kubernetes API', document: 60, resourceVersion: '8' };
  assert.deepEqual((value['metadata'] as { resourceVersion?: string }).resourceVersion, '8');
  const [declared] = readDocuments([{ ...api, value }]).declared;
  assert.equal(sourceText(declared!.source), 'the Kubernetes API, resourceVersion 8');
  const problem = { severity: 'error', ...api, object: declared!.ref, field: 'spec', message: 'odd' } as const;
  assert.equal(formatProblem(problem), 'the Kubernetes API, resourceVersion 8 NetworkPolicy/a/p spec: odd');
});
