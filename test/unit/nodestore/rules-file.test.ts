/** The index of rules as files: it is read back as it was written, or not at all. */
import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { DiskNodeStore } from '../../../lib/nodestore/disk-store.ts';
import { LiveRules } from '../../../lib/policy/compile/live.ts';
import { gatesIn, type RulesIndex } from '../../../lib/policy/compile/rules-index.ts';
import { readDocuments, worldOf } from '../../../lib/policy/manifest/manifest.ts';
import { identityKey } from '../../../lib/tag/identity.ts';
import { scratchFolder } from '../../support/scratch.ts';

const manifests = [
  {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: 'web', namespace: 'shop' },
    spec: {
      podSelector: { matchLabels: { app: 'web' } },
      policyTypes: ['Ingress', 'Egress'],
      ingress: [
        { from: [{ podSelector: {} }], ports: [{ port: 80 }, { port: 8000, endPort: 8010 }, { port: 'http' }] },
        { from: [{ ipBlock: { cidr: '192.0.2.0/24', except: ['192.0.2.128/25'] } }] },
        {},
      ],
      egress: [{ to: [{ ipBlock: { cidr: '2001:db8::/32' } }], ports: [{ port: 'dns', protocol: 'UDP' }] }],
    },
  },
  {
    apiVersion: 'policy.networking.k8s.io/v1alpha2',
    kind: 'ClusterNetworkPolicy',
    metadata: { name: 'bank' },
    spec: {
      ...{ tier: 'Admin', priority: 1, subject: { namespaces: { matchLabels: { bank: 'yes' } } } },
      ingress: [
        { name: 'no shop', action: 'Deny', from: [{ namespaces: { matchLabels: { bank: 'no' } } }] },
        { action: 'Pass', from: [{ namespaces: {} }] },
      ],
    },
  },
];

const identityOf = (namespace: string, labels: Record<string, string>) => ({
  ...{ namespace, labels: new Map(Object.entries(labels)) },
  namedPorts: [{ name: 'http', port: 8080, protocol: 'TCP' as const }],
});
const identities = [identityOf('shop', { app: 'web' }), identityOf('shop', {}), identityOf('bank', {})];

function rulesOfANode(): LiveRules {
  const documents = manifests.map((value, i) => ({ file: 'a', document: i + 1, value }));
  const { world } = worldOf(readDocuments(documents).declared);
  const rules = new LiveRules();
  rules.setNamespace('bank', new Map([['bank', 'yes']]));
  for (const policy of world.policies) rules.setPolicy(policy);
  for (const policy of world.clusterPolicies ?? []) rules.setClusterPolicy(policy);
  rules.setIdentities(identities.map((identity, i) => ({ tag: 0x74670001 + i, identity })));
  rules.take();
  return rules;
}

class Room implements Disposable {
  readonly folder = scratchFolder('rules');

  get store(): DiskNodeStore {
    return new DiskNodeStore(this.folder, { dev: 4, ino: 1 });
  }

  change(file: string, change: (text: string) => string): void {
    const path = join(this.folder, `1.${file}`);
    writeFileSync(path, change(readFileSync(path, 'utf8')));
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true });
  }
}

const marker = 7;

/** But for blocks, which are left out, since a set of blocks has its content's name. */
const withoutRanges = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value, (_, each) => {
      if (typeof each === 'bigint') return String(each);
      return each?.kind === 'ranges' && each.comment !== undefined ? { ...each, ranges: [] } : each;
    }),
  );

test('gates, chains and sets that a process reads are those that another wrote', () => {
  using room = new Room();
  const rules = rulesOfANode();
  const written = rules.index();
  room.store.writeIndex(marker, written);
  const read = room.store.readIndex(marker)!;
  assert.deepEqual(withoutRanges(read.specs), withoutRanges(written.specs));
  assert.equal(read.isOrdered, true);
  const gates = new Map(gatesIn({ specs: read.specs, gates: read.gates()! }));
  const again = new LiveRules({}, { known: { specs: read.specs, gates: read.gates()! } });
  again.setIdentities(identities.map((identity, i) => ({ tag: 0x74670001 + i, identity })));
  again.resume();
  assert.deepEqual([...gates.keys()], identities.map(identityKey));
  assert.deepEqual(again.chains, rules.chains);
});

test('a process that reads rules and writes them again writes the same, whether or not it looked at them', () => {
  using room = new Room();
  room.store.writeIndex(marker, rulesOfANode().index());
  const text = () => readFileSync(join(room.folder, '1.rules'), 'utf8');
  const first = text();
  for (const look of [false, true]) {
    const { specs, gates } = room.store.readIndex(marker)!;
    const found = gates()!;
    if (look) assert.ok(found.chains.every(({ rules }) => rules.length >= 0));
    room.store.writeIndex(marker, { specs, isOrdered: true, gates: () => found });
    assert.equal(text(), first);
  }
});

const damages: readonly (readonly [string, (text: string) => string])[] = [
  ['that is empty', () => ''],
  ['whose end is missing', text => text.slice(0, -1)],
  ['in which one digit is another', text => text.replace(/\d(?=\D*$)/, digit => String(9 - Number(digit)))],
  ['that another release wrote, as JSON alone', text => text.slice(9)],
  ['that is JSON of another shape', () => '{}'],
];
const reads: readonly (readonly [string, (index: RulesIndex | undefined) => unknown])[] = [
  ['sets', index => index],
  ['rules', index => index?.gates()],
];
for (const [file, read] of reads) {
  for (const [what, damage] of damages)
    test(`a file of ${file} ${what} counts as absent`, () => {
      using room = new Room();
      room.store.writeIndex(marker, rulesOfANode().index());
      assert.notEqual(read(room.store.readIndex(marker)), undefined);
      room.change(file, damage);
      assert.equal(read(room.store.readIndex(marker)), undefined);
    });

  test(`a file of ${file} that was written for another table counts as absent`, () => {
    using room = new Room();
    room.store.writeIndex(marker, rulesOfANode().index());
    const path = join(room.folder, `1.${file}`);
    const other = readFileSync(path);
    room.store.writeIndex(marker + 1, rulesOfANode().index());
    writeFileSync(path, other);
    assert.equal(read(room.store.readIndex(marker + 1)), undefined);
  });
}
