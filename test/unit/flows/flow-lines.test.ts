/** A flow as `tollgate flows` tells it to a person: what became of it, and because of which policies. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { flowText } from '../../../lib/cli/flows/flow-lines.ts';
import type { FlowJudgement, FlowRecord } from '../../../lib/flows/model.ts';

const end = (name: string, address: string) => ({ kind: 'outside', name, address }) as const;
const flow = (verdict: FlowRecord['verdict'], more: Partial<FlowRecord>): FlowRecord => ({
  ...{ kind: 'flow', id: 1, time: 0, isStartKnown: true, end: null, state: 'open', verdict },
  ...{ from: end('shop/web', '10.0.1.2'), to: end('shop/db', '10.0.2.2') },
  ...{ protocol: 'TCP', sourcePort: 1, port: 80, sentTo: null, seenFrom: null, sent: null, received: null },
  ...{ egress: null, ingress: null },
  ...more,
});
const judged = (allowed: boolean, isolated: boolean, ...by: readonly string[]): FlowJudgement => ({
  ...{ allowed, isolated, by, rules: [], why: 'The gate does not know its tag' },
});

const admin = 'ClusterNetworkPolicy/admin';
const db = 'NetworkPolicy/shop/db';
const free = judged(true, false);

for (const [name, record, said] of [
  ['no policy has a say', flow('allowed', { egress: free, ingress: free }), 'no policy isolates it'],
  ['a NetworkPolicy allows it', flow('allowed', { egress: free, ingress: judged(true, true, db) }), `ingress by ${db}`],
  ['a NetworkPolicy denies it', flow('denied', { egress: free, ingress: judged(false, true, db) }), `ingress by ${db}`],
  ['a tier allows it', flow('allowed', { egress: judged(true, false, admin), ingress: free }), `egress by ${admin}`],
  ['a tier denies it', flow('denied', { egress: free, ingress: judged(false, false, admin) }), `ingress by ${admin}`],
  [
    'a rule of a tier allows it, and is named',
    flow('allowed', {
      egress: { ...judged(true, false, admin), tier: 'Admin', rules: [`${admin} egress[1] "to shop"`] },
      ingress: free,
    }),
    `egress by ${admin} egress[1] "to shop" (tier Admin)`,
  ],
  [
    'a rule of a tier denies it, and is named',
    flow('denied', {
      egress: free,
      ingress: { ...judged(false, false, admin), tier: 'Baseline', rules: [`${admin} ingress[0]`] },
    }),
    `ingress by ${admin} ingress[0] (tier Baseline)`,
  ],
  [
    'each direction has its policies',
    flow('allowed', { egress: judged(true, false, admin), ingress: judged(true, true, db) }),
    `egress by ${admin}; ingress by ${db}`,
  ],
  [
    'those of a denial alone are told',
    flow('denied', { egress: judged(true, false, admin), ingress: judged(false, true, db) }),
    `ingress by ${db}`,
  ],
  [
    'no policy denies it, and yet it is denied',
    flow('denied', { egress: free, ingress: judged(false, false) }),
    'ingress: The gate does not know its tag',
  ],
  ['another node denies it', flow('denied', { egress: free }), 'what denied it is not known here'],
] as const)
  test(name, () => {
    assert.equal(
      flowText(record),
      `00:00:00.000  ${record.verdict}  shop/web (10.0.1.2) → shop/db (10.0.2.2) 80/TCP  ${said}`,
    );
  });
