/** What the agent's rules cost where one pod declares much or one namespace's policies are as large as they may be: by event. */
import { createIntern } from '../../../lib/kube/intern.ts';
import { type KubePod, pods as podResource } from '../../../lib/kube/object.ts';
import { LiveRules } from '../../../lib/policy/compile/live.ts';
import { MOST_OF_NAMESPACE, MOST_OF_POLICY } from '../../../lib/policy/model/budget.ts';
import type { NetworkPolicy, Pod, PodPeer } from '../../../lib/policy/model/model.ts';
import type { LoadGroup } from '../load-report.ts';

const times = <T>(number: number, make: (i: number) => T): readonly T[] =>
  Array.from({ length: number }, (_, i) => make(i));

const bearing = (key: string, value: string) => ({ requirements: [{ key, operator: 'In' as const, values: [value] }] });

/** Milliseconds of processor time: of the quietest of several events, since whatever disturbs one only adds to it. */
function costOf(event: (turn: number) => void): number {
  const costs = times(7, turn => {
    const start = process.cpuUsage();
    event(turn);
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1000;
  });
  return Math.min(...costs);
}

const policy = (name: string, given: Partial<NetworkPolicy>): NetworkPolicy => ({
  ...{ kind: 'NetworkPolicy', namespace: 'tenant', name, subject: { requirements: [] } },
  ...given,
});

/** Rules of a node that has one pod of the namespace. */
function rulesWith(policies: readonly NetworkPolicy[]): LiveRules {
  const rules = new LiveRules();
  for (const each of policies) rules.setPolicy(each);
  rules.setIdentities([{ tag: 1, identity: { namespace: 'tenant', labels: new Map(), namedPorts: [] } }]);
  rules.take();
  return rules;
}

/** A pod that names so many ports, relabelled. */
function costOfPorts(count: number): number {
  const ports = times(count, i => ({ name: `x${i}`, containerPort: i + 1, protocol: 'TCP' }));
  const rules = rulesWith([
    policy('named', { ingress: [{ index: 0, peers: 'any', ports: [{ protocol: 'TCP', name: 'x7' }] }] }),
  ]);
  const reading = { intern: createIntern(), report: () => {} };
  const pod = (turn: number): KubePod =>
    podResource.read(
      {
        metadata: { namespace: 'tenant', name: 'wide', uid: 'u', labels: { turn: String(turn) } },
        spec: { containers: [{ ports }] },
        status: { podIPs: [{ ip: '10.0.0.1' }] },
      },
      reading,
    )!;
  return costOf(turn => {
    rules.setPod(pod(turn));
    rules.take();
  });
}

const anyTeam = bearing('team', 'x');
const peer = (i: number): PodPeer => ({ kind: 'pods', namespace: anyTeam, pods: bearing('app', `app${i}`) });

/** A namespace of so many pods, relabelled, beside so many peers that look at namespaces. */
function costOfPeers(peers: number, pods: number): number {
  const rules = rulesWith([policy('peers', { ingress: [{ index: 0, peers: times(peers, peer), ports: 'any' }] })]);
  for (let i = 0; i < pods; i++) {
    const pod: Pod = {
      ...{ namespace: 'other', name: `p${i}`, labels: new Map([['app', `app${i}`]]) },
      ...{ addresses: [`10.${i >> 8}.${i & 255}.7`], namedPorts: [], hostNetwork: false, finished: false },
    };
    rules.setPod(pod);
  }
  rules.take();
  return costOf(turn => {
    rules.setNamespace('other', new Map([['team', turn % 2 === 0 ? 'x' : 'y']]));
    rules.take();
  });
}

/** All policies of a namespace at its budget are settled in one block: calls wait for it, others' policies do not. */
function costOfBudget(): number {
  const full = (name: string): NetworkPolicy =>
    policy(name, { ingress: [{ index: 0, peers: times(MOST_OF_POLICY - 1, peer), ports: 'any' }] });
  const policies = times(MOST_OF_NAMESPACE / MOST_OF_POLICY, i => full(`full${i}`));
  const rules = rulesWith(policies);
  return costOf(turn => {
    rules.setPolicy(full(`full${turn % policies.length}`));
    rules.take();
  });
}

export const group: LoadGroup = async say => {
  const unit = 'ms of the processor';
  say('a pod with 20,000 named ports');
  const [fewPorts, manyPorts] = [costOfPorts(5_000), costOfPorts(20_000)];
  say('8,000 peers beside 2,000 pods');
  const [fewPeers, manyPeers] = [costOfPeers(2_000, 500), costOfPeers(8_000, 2_000)];
  say('a namespace at its budget');
  const budget = costOfBudget();
  return [
    {
      what: 'a pod with 20,000 named ports, relabelled',
      asked: { atMost: 450 },
      figure: manyPorts,
      unit,
      before: 1961,
    },
    {
      what: 'a pod with 20,000 named ports, relabelled',
      ...{ asked: { atMost: 6 }, figure: manyPorts / fewPorts, unit: '× a quarter of them' },
    },
    {
      what: 'a namespace of 2,000 pods, relabelled beside 8,000 peers',
      ...{ asked: { atMost: 500 }, figure: manyPeers, unit, before: 1278 },
    },
    {
      what: 'a namespace of 2,000 pods, relabelled beside 8,000 peers',
      ...{ asked: { atMost: 6 }, figure: manyPeers / fewPeers, unit: '× a quarter of both' },
    },
    {
      what: 'one of three policies that fill the budget of a namespace, changed: the longest block',
      ...{ asked: { atMost: 1_000 }, figure: budget, unit },
    },
  ];
};
