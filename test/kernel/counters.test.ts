/** What is counted of identities and of policies outlives the chains that judge them: counted by the kernel, packet by packet. */
import assert from 'node:assert/strict';
import test, { after, before } from 'node:test';
import { FolderTable } from '../../lib/enforce/folder-table.ts';
import { concerns } from '../../lib/gate/concern.ts';
import { type LocalPod, type NodeState, podKey, withoutPod, withPod } from '../../lib/gate/node-state.ts';
import { policyCounter, tagCounter } from '../../lib/gate/ruleset-to-nft.ts';
import type { Address } from '../../lib/ip/address.ts';
import { PROTOCOL } from '../../lib/nft/statements.ts';
import { nameOperation } from '../../lib/nft/transaction.ts';
import type { Kept } from '../../lib/nodestore/policy-folder.ts';
import { readDocuments } from '../../lib/policy/manifest/manifest.ts';
import { GateHost, type GatePod, localPod } from '../support/gate-host.ts';
import { MapStore } from '../support/map-store.ts';
import { addressOf, packetId, tableName } from '../support/wired-host.ts';

const owner = { enforcer: 'inline', stateDir: '/state', policies: '/policies' };
const settings = { judge: 'inline', nflogGroup: 7467, enforceEgressToNode: false } as const;

let host: GateHost;
let table: FolderTable;
let web: GatePod;
let client: GatePod;
before(async () => {
  host = await GateHost.start(2);
  [web, client] = host.pods as [GatePod, GatePod];
  table = new FolderTable({
    store: new MapStore(),
    owner,
    settings,
    nft: () => host.nft,
    log: line => assert.fail(line),
    recover: () => ({}),
    isCarried: () => false,
    isAnyTagged: () => false,
    retag: tagAsJudged,
  });
});
after(() => {
  host[Symbol.dispose]();
});

function tagAsJudged({ link, tag }: LocalPod): void {
  host.tag(host.pods.find(pod => pod.link === link)!, tag);
}

const podOf = (pod: GatePod, role: string): LocalPod =>
  localPod(pod, 0, { labels: { role }, given: { config: { role }, call: {} } });

/** The documents of one folder, read anew. */
let stamp = 0;
function folder(...values: readonly object[]): Kept {
  const documents = values.map((value, document) => ({ file: 'f.yaml', document, value }));
  assert.deepEqual(readDocuments(documents).problems, []);
  return { 'f.yaml': { stamp: String(++stamp), documents } };
}

const toWeb = (...ingress: readonly object[]) => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: 'web', namespace: 'test' },
  spec: { podSelector: { matchLabels: { role: 'web' } }, policyTypes: ['Ingress'], ingress },
});
const fromClients = { from: [{ podSelector: { matchLabels: { role: 'client' } } }] };
const fromElsewhere = { from: [{ ipBlock: { cidr: '198.51.100.0/24' } }], ports: [{ port: 443 }] };
const manifest = (pod: GatePod, role: string) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { namespace: 'test', name: `p${pod.index}`, labels: { role } },
});

function bring(kept: Kept, change: (state: NodeState) => NodeState = state => state): void {
  const { after } = table.bring(change, { kept });
  for (const pod of Object.values(after.state.pods)) tagAsJudged(pod);
}

const plug = (pod: LocalPod) => (state: NodeState) => withPod(state, pod, () => false).state;
const tagOf = (pod: GatePod): number => table.store.read()!.state.pods[podKey(localPod(pod, 0))]!.tag;
const ingressOf = (pod: GatePod): string => tagCounter('ingress', tagOf(pod));
const egressOf = (pod: GatePod): string => tagCounter('egress', tagOf(pod));
const policyName = policyCounter('ingress', 'NetworkPolicy/test/web');

/** Of all named counters, those that are there. */
const counted = (): Record<string, number> =>
  Object.fromEntries([...host.nft.readCounters(tableName)].map(([name, { packets }]) => [name, Number(packets)]));

const chainOf = (pod: GatePod): string => {
  const map = host.nft.readTable('inet', tableName.name)!.sets.find(({ name }) => name === 'ingress_by_tag')!;
  const value = map.elements.find(({ key }) => key[0] === tagOf(pod))!.value!;
  return 'chain' in value ? value.chain : 'open';
};

let sport = 20_000;
/** How many of so many first packets of connections arrive. */
function call(from: { readonly end: GatePod['end']; readonly address: Address }, to: GatePod, number: number): number {
  to.end.take();
  const ids = Array.from({ length: number }, () => {
    const packet = { from: from.address, to: to.addresses[4], protocol: PROTOCOL.udp, sport: ++sport, dport: 80 };
    from.end.send(packet);
    return packetId(packet);
  });
  host.settle();
  return to.end.take().filter(packet => ids.includes(packetId(packet))).length;
}

test('counts of identities and policies are kept while policies come, change and go', () => {
  const caller = { end: client.end, address: client.addresses[4] };

  bring(folder(toWeb()), plug(podOf(web, 'web')));
  bring(folder(toWeb()), plug(podOf(client, 'client')));
  const [ingress, egress] = [ingressOf(web), egressOf(client)];
  const closed = chainOf(web);
  assert.equal(call(caller, web, 3), 0, 'nobody may call it');
  assert.deepEqual(counted(), { [ingress]: 3, [egress]: 3, [egressOf(web)]: 0, [ingressOf(client)]: 0 });

  bring(folder(toWeb(fromClients)));
  const opened = chainOf(web);
  assert.notEqual(opened, closed);
  assert.deepEqual([counted()[ingress], counted()[egress], counted()[policyName]], [3, 3, 0], 'another chain');
  assert.equal(call(caller, web, 2), 2, 'clients may call it');
  assert.deepEqual([counted()[ingress], counted()[egress], counted()[policyName]], [5, 5, 2]);

  bring(folder(toWeb(fromClients, fromElsewhere)));
  assert.notEqual(chainOf(web), opened);
  assert.deepEqual([counted()[ingress], counted()[egress], counted()[policyName]], [5, 5, 2], 'one rule more');

  bring(folder());
  assert.equal(chainOf(web), 'open');
  assert.equal(call(caller, web, 1), 1);
  assert.deepEqual(counted(), { [ingress]: 6, [egress]: 6, [egressOf(web)]: 0, [ingressOf(client)]: 0 }, 'no policy');
});

test('an identity that comes counts from nothing, and one that goes takes its counters along', () => {
  const near = { end: host.near, address: addressOf('198.51.100.2') };
  const [old, egress] = [ingressOf(web), egressOf(web)];
  assert.ok(counted()[old]! > 0);
  bring(folder(manifest(web, 'db')));
  assert.notEqual(ingressOf(web), old);
  assert.deepEqual([counted()[old], counted()[egress], counted()[ingressOf(web)]], [undefined, undefined, 0]);
  assert.equal(call(near, web, 2), 2);
  assert.equal(counted()[ingressOf(web)], 2);

  bring(folder(manifest(web, 'db')), state => withoutPod(state, podKey(localPod(client, 0))));
  assert.deepEqual(counted(), { [ingressOf(web)]: 2, [egressOf(web)]: 0 });
});

test('a packet under a tag that no element knows is counted for nobody', () => {
  const unknown = () => host.nft.read(tableName)!.ruleCounters.get('egress')!.at(-1)!.packets;
  const [before, denied] = [counted(), unknown()];
  host.tag(client, 0x74671234);
  assert.equal(call({ end: client.end, address: client.addresses[4] }, web, 2), 0);
  assert.deepEqual(counted(), before);
  assert.equal(unknown() - denied, 2n);
});

test('a counter that somebody took away is a difference for the pods of its identity, and for no others', () => {
  bring(folder(), plug(podOf(client, 'client')));
  const [name, tag] = [ingressOf(web), tagOf(web)];
  assert.deepEqual(table.drift(), []);
  const set = { name: 'ingress_counts', key: ['devgroup'], value: 'counter' } as const;
  host.nft.commit({
    family: 'inet',
    table: tableName.name,
    operations: [
      { verb: 'delete', object: 'element', set, elements: [{ key: [tag] }] },
      { verb: 'delete', object: 'counter', counter: { name } },
    ],
  });
  const drift = table.drift();
  assert.deepEqual(drift.map(nameOperation), [`counter ${name}`, 'elements of map ingress_counts']);
  const { pods } = table.store.read()!.state;
  for (const [pod, isConcerned] of [
    [web, true],
    [client, false],
  ] as const)
    for (const operation of drift) assert.equal(concerns(operation, pods[podKey(localPod(pod, 0))]!), isConcerned);
  table.mend(() => false);
  assert.equal(counted()[name], 0);
  assert.deepEqual(table.drift(), []);
});
