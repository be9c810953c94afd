/** The world by which a node's policies judge: its manifests, and the pods that are plugged in. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LocalPod, NodeState } from '../../../lib/gate/node-state.ts';
import { worldOfNode } from '../../../lib/gate/node-world.ts';
import { evaluate } from '../../../lib/policy/evaluate/evaluate.ts';
import { worldFrom } from '../../support/worlds.ts';

const web: LocalPod = {
  ...{ network: 'net', containerID: 'c', ifname: 'eth0', link: 'tg0', namespace: 'default', name: 'web' },
  ...{
    labels: { app: 'web' },
    given: { config: {}, call: {} },
    namedPorts: [],
    addresses: ['10.0.0.2'],
    tag: 0x74670001,
  },
} as unknown as LocalPod;

const isolated = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { namespace: 'default', name: 'isolated' },
  spec: { podSelector: {}, policyTypes: ['Ingress'] },
};
const manifest = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { namespace: 'default', name: 'web', labels: { app: 'web' } },
  spec: { nodeName: 'n1', containers: [] },
  status: { podIP: '10.0.0.2', podIPs: [{ ip: '10.0.0.2' }] },
};

test('a node reaches the pods that are plugged in on it, by the name that their manifests give it, and no other node does', () => {
  const world = worldOfNode(worldFrom([isolated, manifest]), { pods: { web } } as unknown as NodeState);
  const [pod] = world.pods;
  assert.equal(world.pods.length, 1, 'the manifest is replaced');
  const flow = { family: 4, protocol: 'TCP', port: 80, to: { kind: 'pod', pod: pod! } } as const;
  for (const [name, expected] of [
    ['n1', true],
    ['n2', false],
  ] as const) {
    const { ingress } = evaluate(world, { from: { kind: 'node', name }, ...flow });
    assert.equal(ingress.allowed, expected, `${name}: ${ingress.why}`);
  }
});
