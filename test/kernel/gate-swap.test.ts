/**
 * One deny takes the place of another while packets are under way: a packet looks at the gate of its sender first and at
 * that of its receiver a moment later, and must not see the old state of the one and the new state of the other.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { policySets } from '../../lib/gate/steps.ts';
import { formatAddress } from '../../lib/ip/address.ts';
import { type DiffOptions, diff } from '../../lib/nft/diff.ts';
import type { Table } from '../../lib/nft/model.ts';
import type { AddressSet, Ruleset } from '../../lib/policy/compile/ruleset.ts';
import { EagerPods } from '../support/eager.ts';
import { GateHost, type GatePod, localPod, tableOf } from '../support/gate-host.ts';

const tags = { caller: 0x74670001, called: 0x74670002 } as const;
const PORT = 7467;
const identity = { namespace: 'test', labels: new Map<string, string>(), namedPorts: [] };

interface Swap {
  readonly what: string;
  readonly one: (a: GatePod, b: GatePod) => Ruleset;
  readonly other: (a: GatePod, b: GatePod) => Ruleset;
}

const shut = (name: string, direction: 'egress' | 'ingress') =>
  [name, { name, direction, rules: [], policies: [] }] as const;
const gates = (egress: string, ingress: string): Ruleset => ({
  sets: new Map(),
  chains: new Map([
    ...(egress === 'open' ? [] : [shut(egress, 'egress')]),
    ...(ingress === 'open' ? [] : [shut(ingress, 'ingress')]),
  ]),
  tags: new Map([
    [tags.caller, { identity, egress, ingress: 'open' }],
    [tags.called, { identity, egress: 'open', ingress }],
  ]),
});

const peers = (name: string, pods: readonly GatePod[]) =>
  [
    name,
    { kind: 'addresses', name, family: 4, comment: name, pods: [], elements: pods.map(pod => pod.addresses[4]) },
  ] as const satisfies readonly [string, AddressSet];
/** The same chains in both states: only who is in their sets differs. */
const members = (callable: readonly GatePod[], callers: readonly GatePod[]): Ruleset => {
  const allow = (name: string) =>
    [{ peers: { kind: 'addresses', family: 4, name }, ports: 'any', origins: [] }] as const;
  return {
    sets: new Map([peers('pods4-to', callable), peers('pods4-from', callers)]),
    chains: new Map([
      ['out-x', { name: 'out-x', direction: 'egress', rules: allow('pods4-to'), policies: [] }],
      ['in-x', { name: 'in-x', direction: 'ingress', rules: allow('pods4-from'), policies: [] }],
    ]),
    tags: gates('out-x', 'in-x').tags,
  };
};

/** Neither state of any of them allows the one pod to call the other. */
const swaps: readonly Swap[] = [
  { what: 'gates', one: () => gates('out-x', 'open'), other: () => gates('open', 'in-x') },
  { what: 'members of sets', one: (_, b) => members([b], []), other: a => members([], [a]) },
];

/** How many packets get through while the table goes back and forth that often, and until the pod has sent enough. */
async function leaks({ one, other }: Swap, options: DiffOptions, swaps: number): Promise<number> {
  using host = await GateHost.start(2);
  await using eager = new EagerPods({ isCeaseless: true });
  const [a, b] = host.pods as [GatePod, GatePod];
  const pods = [localPod(a, tags.caller), localPod(b, tags.called)];
  const tables: readonly [Table, Table] = [
    tableOf(pods, { ruleset: one(a, b) }),
    tableOf(pods, { ruleset: other(a, b) }),
  ];
  host.bring(tables[0]);
  host.tag(a, tags.caller);
  host.tag(b, tags.called);
  const targets = [formatAddress(b.addresses[4])];
  const id = await eager.start({ netns: host.host.path('/run/netns/pod1'), targets, port: PORT });
  const [there, back] = [diff(tables[0], tables[1], options), diff(tables[1], tables[0], options)];
  let count = 0;
  const swapSome = async (): Promise<void> => {
    for (let i = 0; i < 50; i++, count += 2) for (const transaction of [there, back]) host.nft.commit(transaction);
    await new Promise(resolve => setImmediate(resolve));
  };
  while (count < swaps || (await eager.taken(id)) < swaps / 10) await swapSome();
  await eager.stop(id);
  host.settle();
  return b.end.take().filter(({ dport }) => dport === PORT).length;
}

for (const swap of swaps) {
  test(`${swap.what}: as the table does it, no packet gets through, however often`, async () => {
    assert.equal(await leaks(swap, policySets, 1000), 0);
  });
}
