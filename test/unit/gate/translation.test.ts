/** The kernel's NAT is asked about connections only on nodes where a pod is in need of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { desiredTable } from '../../../lib/gate/desired.ts';
import { emptyNode, type LocalPod, podKey, withoutPod, withPod } from '../../../lib/gate/node-state.ts';
import type { Judge } from '../../../lib/gate/settings.ts';

const pod = (containerID: string, more: Partial<LocalPod> = {}): Omit<LocalPod, 'tag'> => ({
  ...{ network: 'test', containerID, ifname: 'eth0', link: `tg${containerID}`, ifindex: 7, namespace: 'test' },
  ...{ name: containerID, labels: {}, given: { config: {}, call: {} }, namedPorts: [], addresses: ['10.0.0.1'] },
  hostPorts: [],
  ...more,
});
const bare = pod('bare');
const mapped = pod('mapped', { hostPorts: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] });
const masked = pod('masked', { masquerade: { from: ['10.0.0.0/24'], except: [] } });

const owner = { enforcer: 'inline', stateDir: '/none', policies: '/none' };
const nodeWith = (judge: Judge, pods: readonly Omit<LocalPod, 'tag'>[]) =>
  pods.reduce(
    (state, each) => withPod(state, each, () => false).state,
    emptyNode(owner, { judge, nflogGroup: 7467, enforceEgressToNode: false }),
  );
const natChains = (state: ReturnType<typeof nodeWith>): string[] =>
  desiredTable(state, 1)
    .chains.filter(({ base }) => base?.type === 'nat')
    .map(({ name }) => name);

const all = ['hostports-in', 'hostports-out', 'masquerade-out'];
const rows: readonly (readonly [string, Judge, readonly Omit<LocalPod, 'tag'>[], readonly string[]])[] = [
  ['a node of plain pods', 'inline', [bare], []],
  ['a node of plain pods that a program of the admin judges', 'exec', [bare], []],
  ['a node with a hostPort', 'inline', [bare, mapped], all],
  ['a node with ipMasq', 'none', [bare, masked], ['masquerade-out']],
  ['a node with both', 'inline', [masked, mapped], all],
  ['a node of Kubernetes, where Services lead pods to themselves', 'agent', [bare], ['masquerade-out']],
  ['a node of Kubernetes with a hostPort', 'agent', [mapped], all],
];

for (const [sentence, judge, pods, expected] of rows)
  test(`NAT of ${sentence}`, () => {
    assert.deepEqual(natChains(nodeWith(judge, pods)), expected);
  });

test('NAT goes with the last pod that was in need of it', () => {
  const both = nodeWith('inline', [bare, mapped, pod('other', { hostPorts: mapped.hostPorts })]);
  const one = withoutPod(both, podKey(mapped));
  assert.deepEqual(natChains(one), all);
  assert.deepEqual(natChains(withoutPod(one, podKey(pod('other')))), []);
});
