/** What an admin saves of our table with `nft list` can be put back with `nft -f`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { desiredTable } from '../../lib/gate/desired.ts';
import { emptyNode, type LocalPod, withPod } from '../../lib/gate/node-state.ts';
import { rulesetOfNode } from '../../lib/gate/node-world.ts';
import { inNetns } from '../../lib/kernel/netns.ts';
import { Nft } from '../../lib/kernel/nft.ts';
import { diff } from '../../lib/nft/diff.ts';
import { manifestsOf } from '../../lib/nodestore/policy-folder.ts';
import { makeNetns } from '../support/netns.ts';

const owner = { enforcer: 'inline', stateDir: '/var/lib/tollgate', policies: '/etc/tollgate/policies' };
const policy = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: 'web', namespace: 'shop' },
  spec: {
    podSelector: { matchLabels: { app: 'web' } },
    policyTypes: ['Ingress', 'Egress'],
    ingress: [{ from: [{ podSelector: {} }], ports: [{ port: 80 }, { port: 8000, endPort: 8100 }] }],
    egress: [
      { to: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] } }, { ipBlock: { cidr: 'fd00::/8' } }] },
      { to: [{ namespaceSelector: {} }], ports: [{ port: 'http' }] },
    ],
  },
};
const pod: Omit<LocalPod, 'tag'> = {
  network: 'net',
  containerID: 'c1',
  ifname: 'eth0',
  link: 'tgaaaaaaaaaaaaa',
  namespace: 'shop',
  name: 'web',
  labels: { app: 'web' },
  given: { config: {}, call: { app: 'web' } },
  namedPorts: [{ name: 'http', protocol: 'TCP', port: 8080 }],
  addresses: ['10.88.0.2', 'fd88::2'],
  masquerade: { from: ['10.88.0.0/16', 'fd88::/64'], except: ['10.88.0.0/16', 'fd88::/64'] },
  hostPorts: [
    { hostPort: 80, containerPort: 8080, protocol: 'tcp' },
    { hostPort: 53, containerPort: 53, protocol: 'udp', hostIP: '192.0.2.1' },
  ],
};

const names = ['$x $(z)', '"quoted"', 'back\\slash', 'a/b', 'ü'.repeat(40)];
const peersOf = (n: number) => [{ namespaces: { matchLabels: { team: `t${n}` } } }];
/** Rules by number, and those with a chain of their own: two neighbours are too few to be looked up at once. */
const clusterPolicy = (tier: string, count: number) => ({
  apiVersion: 'policy.networking.k8s.io/v1alpha2',
  kind: 'ClusterNetworkPolicy',
  metadata: { name: tier.toLowerCase() },
  spec: {
    ...{ tier, priority: 1, subject: { namespaces: {} } },
    ingress: Array.from({ length: count }, (_, n) => {
      return { action: 'Deny', name: names[n % names.length], from: peersOf(n) };
    }),
  },
});
const namespaced = {
  ...{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop', labels: { team: 't3' } } },
};

const rows = [
  ['a NetworkPolicy', [policy]],
  [
    'cluster policies with many rules and with few, of any name',
    [clusterPolicy('Admin', 24), clusterPolicy('Baseline', 5), namespaced],
  ],
] as const;

for (const [what, values] of rows)
  test(`of ${what}, what nft lists is a text that nft makes the same table of`, () => {
    using netns = makeNetns();
    const documents = values.map((value, document) => ({ file: 'p.yaml', document, value }));
    const kept = { 'p.yaml': { stamp: '1', documents } };
    const settings = { judge: 'inline', nflogGroup: 7467, enforceEgressToNode: true } as const;
    const { state } = withPod(emptyNode(owner, settings), pod, () => false);
    const want = desiredTable(state, 7, rulesetOfNode(manifestsOf(kept).world, state));
    using nft = inNetns(netns, () => Nft.open());
    nft.commit(diff(undefined, want));
    const { stdout } = netns.exec('nft', ['list', 'table', 'inet', 'tollgate']);
    netns.exec('nft', ['delete', 'table', 'inet', 'tollgate']);
    netns.exec('sh', ['-c', 'printf %s "$0" | nft -f -', stdout]);
    assert.equal(netns.exec('nft', ['list', 'table', 'inet', 'tollgate']).stdout, stdout);
  });
