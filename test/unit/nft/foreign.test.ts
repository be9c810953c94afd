/** What others' chains do with our pods' first packets, by chains as docker, firewalld and admins write them. */
import assert from 'node:assert/strict';
import test, { suite } from 'node:test';
import { probeKernel } from '../../../lib/enforce/probe.ts';
import { type BaseChain, drops } from '../../../lib/nft/foreign.ts';
import type { Rule } from '../../../lib/nft/model.ts';
import { ACCEPT, COUNTER, CT_STATE, DROP, goto, jump, match, RETURN, rule } from '../../../lib/nft/statements.ts';

const fromPod = { iifname: 'tgaaaaaaaaaaaaa', oifname: 'eth0' };
const toPod = { iifname: 'eth0', oifname: 'tgaaaaaaaaaaaaa' };

const iif = (name: string, op: '==' | '!=' = '==') => match('meta iifname', op, name);
const oif = (name: string) => match('meta oifname', '==', name);
const established = match('ct state', 'any', CT_STATE.established | CT_STATE.related);
const xt = (kind: 'match' | 'target', name: string): Rule => {
  const attributes = Buffer.from(name).toString('hex');
  return rule([
    { kind: 'foreign', expressions: `name="counter" \nattributes="${attributes}" kernel="${kind}" name="other" \n` },
  ]);
};
const reject = rule([{ kind: 'reject', with: 'admin-prohibited' }]);

interface Case {
  readonly what: string;
  readonly policy?: 'accept' | 'drop';
  readonly chains: Readonly<Record<string, readonly Rule[]>>;
  /** Of packets from a pod, and to one. */
  readonly dropped: readonly [from: boolean, to: boolean];
}

const cases: readonly Case[] = [
  { what: 'an empty chain that accepts', chains: { forward: [] }, dropped: [false, false] },
  { what: 'an empty chain that drops', policy: 'drop', chains: { forward: [] }, dropped: [true, true] },
  {
    what: 'docker’s, with nothing in DOCKER-USER',
    policy: 'drop',
    chains: {
      forward: [rule([COUNTER, jump('DOCKER-USER')]), rule([oif('docker0'), established, ACCEPT])],
      'DOCKER-USER': [],
    },
    dropped: [true, true],
  },
  {
    what: 'docker’s, with one of the two lines',
    policy: 'drop',
    chains: { forward: [rule([COUNTER, jump('DOCKER-USER')])], 'DOCKER-USER': [rule([iif('tg*'), COUNTER, ACCEPT])] },
    dropped: [false, true],
  },
  {
    what: 'docker’s, with both lines',
    policy: 'drop',
    chains: {
      forward: [rule([jump('DOCKER-USER')])],
      'DOCKER-USER': [rule([iif('tg*'), ACCEPT]), rule([oif('tg*'), ACCEPT]), rule([RETURN])],
    },
    dropped: [false, false],
  },
  {
    what: 'firewalld’s',
    chains: {
      forward: [rule([established, ACCEPT]), rule([iif('lo'), ACCEPT]), rule([jump('policies')]), reject],
      policies: [rule([iif('eth0'), oif('eth0'), goto('zone')]), rule([RETURN])],
      zone: [rule([ACCEPT])],
    },
    dropped: [true, true],
  },
  {
    what: 'firewalld’s, with our interfaces trusted',
    chains: {
      forward: [rule([established, ACCEPT]), rule([jump('policies')]), reject],
      policies: [rule([iif('tg*'), goto('trusted')]), rule([oif('tg*'), goto('trusted')])],
      trusted: [rule([ACCEPT])],
    },
    dropped: [false, false],
  },
  { what: 'a bare REJECT of iptables’', chains: { forward: [xt('target', 'REJECT')] }, dropped: [true, true] },
  { what: 'a condition that we cannot read', chains: { forward: [xt('match', 'comment')] }, dropped: [false, false] },
  {
    what: 'a drop for others only',
    chains: { forward: [rule([iif('tg*', '!='), DROP])] },
    dropped: [false, true],
  },
  {
    what: 'a drop under a condition that we cannot judge',
    chains: { forward: [rule([match('tcp dport', '==', 25), DROP])] },
    dropped: [false, false],
  },
  {
    what: 'a chain that returns to the policy',
    policy: 'drop',
    chains: { forward: [rule([RETURN])] },
    dropped: [true, true],
  },
  {
    what: 'chains that jump in a circle, as they may for a moment',
    chains: { forward: [rule([jump('a')])], a: [rule([jump('forward')])] },
    dropped: [false, false],
  },
];

suite('what a forward chain does with a packet that a pod sends, or gets', () => {
  for (const { what, policy = 'accept', chains, dropped } of cases)
    test(what, () => {
      const base = { type: 'filter', hook: 'forward', priority: 0, policy } as const;
      const chain: BaseChain = { family: 'inet', table: 'theirs', name: 'forward', base };
      const rulesOf = (name: string) => chains[name] ?? [];
      assert.deepEqual([drops(chain, rulesOf, fromPod), drops(chain, rulesOf, toPod)], dropped);
    });
});

suite('the kernel’s version', () => {
  const versions: readonly (readonly [string, boolean])[] = [
    ['5.14.0-427.el9.x86_64', false],
    ['4.19.0', false],
    ['5.15.0', true],
    ['5.15.0-91-generic', true],
    ['6.1.0-18-amd64', true],
    ['10.0', true],
  ];
  for (const [version, isEnough] of versions)
    test(`${version} is ${isEnough ? 'enough' : 'too old'}`, () =>
      assert.equal(probeKernel(version).length === 0, isEnough));
});
