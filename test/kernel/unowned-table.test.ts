/** Before the agent opens a pod in a table that it does not own, the kernel's own table is whole: nobody tells it of changes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TABLE_NAME } from '../../lib/gate/desired.ts';
import { diff } from '../../lib/nft/diff.ts';
import type { ClusterPolicy } from '../../lib/policy/model/cluster-policy.ts';
import type { PodPeer } from '../../lib/policy/model/model.ts';
import { UnownedTable } from '../support/unowned-table.ts';

const ownChain = `$(nft list map inet tollgate ingress_by_tag | grep -o 'in-[^ ,]*' | head -1)`;

/** What another program does; all of it leaves the marker. */
const changes: readonly (readonly [what: string, command: string])[] = [
  ['the table is flushed', 'nft flush table inet tollgate'],
  ['the gate is flushed', 'nft flush chain inet tollgate gate'],
  ['a rule is put before all others', 'nft insert rule inet tollgate gate accept'],
  ['the table is put to sleep', "nft add table inet tollgate '{ flags dormant; }'"],
  ['the chain of the pod is flushed', `nft flush chain inet tollgate ${ownChain}`],
  ["the tags' entries are gone", 'nft flush map inet tollgate ingress_by_tag'],
  ['a set of peers is flushed', `nft flush set inet tollgate $(nft list sets | grep -o 'pods4-[^ ]*' | head -1)`],
];

for (const [what, command] of changes)
  test(`the next pod is opened in a table that is whole: ${what}`, async () => {
    using room = new UnownedTable();
    const { netns, nft, table } = room;
    await room.open(1);
    room.disturb();
    await room.open(2);
    await room.open(51);
    assert.equal(table.mended, 0);
    netns.exec('sh', ['-c', command]);
    room.disturb();
    await room.open(52);
    const { operations } = diff(nft.readTable('inet', 'tollgate'), table.desired());
    assert.deepEqual(operations, []);
    assert.ok(table.mended > 0, 'counted');
    assert.match(room.said.join(), /Another program changed our table: mended/);
  });

const everyone: PodPeer = { kind: 'pods', namespace: { requirements: [] }, pods: { requirements: [] } };
const port = (number: number) => [{ protocol: 'TCP', first: number, last: number }] as const;
/** A pod that comes is accepted and denied, so that the rule that looks into `moment` is made anew. */
const ofAll: ClusterPolicy = {
  ...{ kind: 'ClusterNetworkPolicy', name: 'all', tier: 'Admin', priority: 1, subject: everyone, egress: [] },
  ingress: [
    { index: 0, action: 'Accept', peers: [everyone], ports: port(80) },
    { index: 1, action: 'Deny', peers: [everyone], ports: port(81) },
  ],
};

for (const [judges, policies] of [
  ['NetworkPolicies', []],
  ['cluster policies', [ofAll]],
] as const)
  test(`while it is whole nothing of it is read but what judges the pod, whatever others commit: ${judges}`, async () => {
    using room = new UnownedTable();
    for (const policy of policies) room.rules.setClusterPolicy(policy);
    const { nft } = room;
    await room.open(1);
    let whole = 0;
    const read = nft.read.bind(nft);
    nft.read = name => {
      whole++;
      return read(name);
    };
    const moments = new Set<string>();
    for (let number = 2; number < 120; number++) {
      if (number % 3 === 0) room.disturb();
      await room.open(number);
      moments.add(String(nft.readChecksums(TABLE_NAME, ['one-moment'])?.chains.get('one-moment')));
    }
    assert.equal(whole, 0);
    assert.equal(room.table.mended, 0);
    assert.equal(moments.size, policies.length === 0 ? 1 : 118);
  });
