/** The table of ARCHITECTURE.md's first idea: as a value, as text, as nft lists it, and what each of its lines is there for. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inNetns } from '../../lib/kernel/netns.ts';
import { Nft } from '../../lib/kernel/nft.ts';
import { diff } from '../../lib/nft/diff.ts';
import type { Base, Chain, NetfilterHook, Rule, Table } from '../../lib/nft/model.ts';
import {
  ACCEPT,
  COUNTER,
  CT_STATE,
  DROP,
  goto,
  inSet,
  jump,
  MISSING,
  match,
  matchMasked,
  oneOf,
  PROTOCOL,
  RETURN,
  rule,
  TCP_FLAG,
  vmap,
} from '../../lib/nft/statements.ts';
import { formatTable } from '../../lib/nft/text.ts';
import { makeNetns } from '../support/netns.ts';
import { type Packet, tracerOf } from '../support/nft-tracer.ts';

const TAG_MASK = 0xffff0000;
const TAG = 0x74670000;
const closed = [0x74670000, 0x7467ffff, 0x7467fffe];
const web = 0x74670001;
const client = 0x74670002;
const open = 0x74670003;
const unknown = 0x74670009;

const address4 = (last: number) => ({ family: 4, value: 0x0a000000n + BigInt(last) }) as const;
const address6 = (last: number) => ({ family: 6, value: (0xfd00n << 112n) + BigInt(last) }) as const;

const base = (hook: NetfilterHook, priority: number): Base => ({ type: 'filter', hook, priority, policy: 'accept' });
const denial = (prefix: string): Rule[] => [
  rule([
    { kind: 'limit', rate: 100, per: 'second', burst: 500 },
    { kind: 'log', prefix, group: 7467 },
  ]),
  rule([COUNTER, DROP]),
];

const raw: Chain = {
  name: 'raw',
  base: base('prerouting', -300),
  rules: [
    rule([matchMasked('meta iifgroup', TAG_MASK, '!=', TAG), ACCEPT]),
    rule([oneOf('meta iifgroup', closed), COUNTER, DROP]),
    rule([match('fib saddr . iif oif', '==', MISSING), COUNTER, DROP]),
    rule([match('ip6 saddr', '==', { family: 6, value: 0xfe80n << 112n, length: 10 }), COUNTER, DROP]),
  ],
};
const gate: Chain = {
  name: 'gate',
  base: base('postrouting', 99),
  rules: [
    rule([oneOf('meta oifgroup', closed), COUNTER, DROP]),
    rule([oneOf('icmpv6 type', [130, 131, 132, 133, 134, 135, 136, 143]), match('ip6 hoplimit', '==', 255), ACCEPT]),
    rule([match('ct state', 'any', CT_STATE.established), ACCEPT]),
    rule([match('ct state', 'any', CT_STATE.related), oneOf('meta l4proto', [PROTOCOL.icmp, PROTOCOL.icmpv6]), ACCEPT]),
    rule([
      match('ct state', 'any', CT_STATE.new),
      matchMasked('tcp flags', TCP_FLAG.fin | TCP_FLAG.syn | TCP_FLAG.rst | TCP_FLAG.ack, '!=', TCP_FLAG.syn),
      COUNTER,
      DROP,
    ]),
    rule([inSet(['ip saddr', 'ip daddr'], 'self4'), ACCEPT]),
    rule([inSet(['ip6 saddr', 'ip6 daddr'], 'self6'), ACCEPT]),
    rule([matchMasked('meta iifgroup', TAG_MASK, '==', TAG), jump('egress')]),
    rule([match('meta iif', '==', 0), ACCEPT]),
    rule([matchMasked('meta oifgroup', TAG_MASK, '==', TAG), jump('ingress')]),
  ],
};
const egress: Chain = { name: 'egress', rules: [rule([vmap('meta iifgroup', 'egress_by_tag')]), ...denial('egress ')] };
const ingress: Chain = {
  name: 'ingress',
  rules: [rule([vmap('meta oifgroup', 'ingress_by_tag')]), ...denial('ingress ')],
};

const table: Table = {
  family: 'inet',
  name: 'tollgate',
  counters: [{ name: 'ingress/NetworkPolicy/demo/web', comment: 'allowed by demo/web' }],
  sets: [
    { name: 'self4', key: ['ipv4_addr', 'ipv4_addr'], elements: [{ key: [address4(1), address4(1)] }] },
    { name: 'self6', key: ['ipv6_addr', 'ipv6_addr'], elements: [{ key: [address6(1), address6(1)] }] },
    { name: 'clients', comment: 'app=client of demo', key: ['ipv4_addr'], elements: [{ key: [address4(2)] }] },
    {
      name: 'egress_by_tag',
      key: ['devgroup'],
      value: 'verdict',
      elements: [
        { key: [web], value: goto('out-1f2e'), comment: 'demo/web' },
        { key: [client], value: RETURN, comment: 'demo/client' },
        { key: [open], value: RETURN, comment: 'demo/open' },
      ],
    },
    {
      name: 'ingress_by_tag',
      key: ['devgroup'],
      value: 'verdict',
      elements: [
        { key: [web], value: goto('in-3d4c'), comment: 'demo/web' },
        { key: [client], value: goto('out-1f2e'), comment: 'demo/client' },
        { key: [open], value: RETURN, comment: 'demo/open' },
      ],
    },
  ],
  chains: [
    raw,
    gate,
    egress,
    ingress,
    { name: 'out-1f2e', comment: 'demo/isolated', rules: denial('out-1f2e ') },
    {
      name: 'in-3d4c',
      comment: 'demo/web',
      rules: [
        rule(
          [
            inSet('ip saddr', 'clients'),
            match('tcp dport', '==', 80),
            { kind: 'counter', name: 'ingress/NetworkPolicy/demo/web' },
            RETURN,
          ],
          'demo/web, rule 1',
        ),
        ...denial('in-3d4c '),
      ],
    },
  ],
};

test('the table prints as nft would write it', () => {
  assert.equal(
    formatTable(table),
    `table inet tollgate {
	counter ingress/NetworkPolicy/demo/web {
		comment "allowed by demo/web"
	}

	set self4 {
		type ipv4_addr . ipv4_addr
		elements = { 10.0.0.1 . 10.0.0.1 }
	}

	set self6 {
		type ipv6_addr . ipv6_addr
		elements = { fd00::1 . fd00::1 }
	}

	set clients {
		type ipv4_addr
		comment "app=client of demo"
		elements = { 10.0.0.2 }
	}

	map egress_by_tag {
		type devgroup : verdict
		elements = { 0x74670001 comment "demo/web" : goto out-1f2e,
			     0x74670002 comment "demo/client" : return,
			     0x74670003 comment "demo/open" : return }
	}

	map ingress_by_tag {
		type devgroup : verdict
		elements = { 0x74670001 comment "demo/web" : goto in-3d4c,
			     0x74670002 comment "demo/client" : goto out-1f2e,
			     0x74670003 comment "demo/open" : return }
	}

	chain raw {
		type filter hook prerouting priority -300; policy accept;
		meta iifgroup & 0xffff0000 != 0x74670000 accept
		meta iifgroup { 0x74670000, 0x7467ffff, 0x7467fffe } counter drop
		fib saddr . iif oif missing counter drop
		ip6 saddr fe80::/10 counter drop
	}

	chain gate {
		type filter hook postrouting priority 99; policy accept;
		meta oifgroup { 0x74670000, 0x7467ffff, 0x7467fffe } counter drop
		icmpv6 type { 130, 131, 132, 133, 134, 135, 136, 143 } ip6 hoplimit 255 accept
		ct state established accept
		ct state related meta l4proto { icmp, ipv6-icmp } accept
		ct state new tcp flags & 0x17 != 0x2 counter drop
		ip saddr . ip daddr @self4 accept
		ip6 saddr . ip6 daddr @self6 accept
		meta iifgroup & 0xffff0000 == 0x74670000 jump egress
		meta iif 0 accept
		meta oifgroup & 0xffff0000 == 0x74670000 jump ingress
	}

	chain egress {
		meta iifgroup vmap @egress_by_tag
		limit rate 100/second burst 500 packets log prefix "egress " group 7467
		counter drop
	}

	chain ingress {
		meta oifgroup vmap @ingress_by_tag
		limit rate 100/second burst 500 packets log prefix "ingress " group 7467
		counter drop
	}

	chain out-1f2e {
		comment "demo/isolated"
		limit rate 100/second burst 500 packets log prefix "out-1f2e " group 7467
		counter drop
	}

	chain in-3d4c {
		comment "demo/web"
		ip saddr @clients tcp dport 80 counter name "ingress/NetworkPolicy/demo/web" return comment "demo/web, rule 1"
		limit rate 100/second burst 500 packets log prefix "in-3d4c " group 7467
		counter drop
	}
}
`,
  );
});

test('the kernel takes the table, nft lists its gate so that an admin can read it, and what is read back is the same', () => {
  using netns = makeNetns();
  using nft = inNetns(netns, () => Nft.open());
  nft.commit(diff(undefined, table));
  assert.equal(
    netns.exec('nft', ['-s', 'list', 'chain', 'inet', 'tollgate', 'gate']).stdout,
    `table inet tollgate {
	chain gate {
		type filter hook postrouting priority srcnat - 1; policy accept;
		oifgroup { 1952907264, 1952972798, 1952972799 } counter drop
		icmpv6 type { mld-listener-query, mld-listener-report, mld-listener-done, nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, mld2-listener-report } ip6 hoplimit 255 accept
		ct state established accept
		ct state related meta l4proto { icmp, ipv6-icmp } accept
		ct state new tcp flags != syn / fin,syn,rst,ack counter drop
		ip saddr . ip daddr @self4 accept
		ip6 saddr . ip6 daddr @self6 accept
		iifgroup 1952907264/16 jump egress
		iif 0 accept
		oifgroup 1952907264/16 jump ingress
	}
}
`,
  );
  assert.deepEqual(diff(nft.readTable('inet', 'tollgate'), table).operations, []);
});

const from = (tag: number): Partial<Packet> => ({
  iif: tag & 0xff,
  iifname: `tg${tag & 0xff}`,
  iifgroup: tag,
  sourceRouted: true,
});
const to = (tag: number): Partial<Packet> => ({ oif: tag & 0xff, oifname: `tg${tag & 0xff}`, oifgroup: tag });
const uplinkIn: Partial<Packet> = { iif: 200, iifname: 'eth0', iifgroup: 0, sourceRouted: true };
const uplinkOut: Partial<Packet> = { oif: 200, oifname: 'eth0', oifgroup: 0 };

const syn4: Packet = {
  family: 4,
  saddr: address4(2).value,
  daddr: address4(1).value,
  l4proto: PROTOCOL.tcp,
  sport: 40_000,
  dport: 80,
  tcpFlags: TCP_FLAG.syn,
  hoplimit: 63,
  ctState: CT_STATE.new,
};
const self = { saddr: address4(1).value, daddr: address4(1).value };
const self6 = { family: 6, saddr: address6(1).value, daddr: address6(1).value } as const;
const solicitation: Partial<Packet> = { family: 6, l4proto: PROTOCOL.icmpv6, icmpType: 135, saddr: 1n, daddr: 2n };

interface Row {
  readonly sentence: string;
  readonly packet: Partial<Packet>;
  readonly verdict: 'accept' | 'drop';
  readonly hook?: NetfilterHook;
}

const rows: readonly Row[] = [
  {
    sentence: 'a client to the web pod on the port that its policy allows',
    packet: { ...from(client), ...to(web) },
    verdict: 'accept',
  },
  {
    sentence: 'a client to another port of the web pod',
    packet: { ...from(client), ...to(web), dport: 81 },
    verdict: 'drop',
  },
  {
    sentence: 'a stranger to the web pod',
    packet: { ...from(open), ...to(web), saddr: address4(3).value },
    verdict: 'drop',
  },
  {
    sentence: 'a stranger from elsewhere to the web pod',
    packet: { ...uplinkIn, ...to(web), saddr: 1n },
    verdict: 'drop',
  },
  {
    sentence: 'anybody to a pod that no policy selects',
    packet: { ...uplinkIn, ...to(open), saddr: 1n },
    verdict: 'accept',
  },
  { sentence: 'the isolated web pod to elsewhere', packet: { ...from(web), ...uplinkOut }, verdict: 'drop' },
  { sentence: 'the isolated web pod to an open pod', packet: { ...from(web), ...to(open) }, verdict: 'drop' },
  { sentence: 'a pod that no policy selects to elsewhere', packet: { ...from(open), ...uplinkOut }, verdict: 'accept' },
  {
    sentence: 'a pod with a tag that no entry knows to elsewhere',
    packet: { ...from(unknown), ...uplinkOut },
    verdict: 'drop',
  },
  {
    sentence: 'an open pod to one with a tag that no entry knows',
    packet: { ...from(open), ...to(unknown) },
    verdict: 'drop',
  },
  { sentence: 'somebody else’s traffic through the node', packet: { ...uplinkIn, ...uplinkOut }, verdict: 'accept' },
  { sentence: 'the node to an isolated pod', packet: to(client), verdict: 'accept' },
  { sentence: 'the node to a pod in quarantine', packet: to(0x74670000), verdict: 'drop' },
  { sentence: 'the node to a condemned pod', packet: to(0x7467ffff), verdict: 'drop' },
  {
    sentence: 'an answer of the isolated web pod',
    packet: { ...from(web), ...to(client), ctState: CT_STATE.established, tcpFlags: TCP_FLAG.ack },
    verdict: 'accept',
  },
  {
    sentence: 'an ICMP error about a connection of the web pod',
    packet: { ...from(web), ...to(client), l4proto: PROTOCOL.icmp, icmpType: 3, ctState: CT_STATE.related },
    verdict: 'accept',
  },
  {
    sentence: 'a connection related to another, which is no ICMP',
    packet: { ...from(web), ...uplinkOut, ctState: CT_STATE.related },
    verdict: 'drop',
  },
  {
    sentence: 'the middle of a connection that was cut, from an open pod',
    packet: { ...from(open), ...to(open), tcpFlags: TCP_FLAG.ack },
    verdict: 'drop',
  },
  {
    sentence: 'the isolated web pod to itself through a service',
    packet: { ...from(web), ...to(web), ...self },
    verdict: 'accept',
  },
  { sentence: 'the same with IPv6', packet: { ...from(web), ...to(web), ...self6 }, verdict: 'accept' },
  {
    sentence: 'the node’s own neighbour solicitation, whatever the tag says',
    packet: { ...uplinkIn, ...to(unknown), ...solicitation, hoplimit: 255 },
    verdict: 'accept',
  },
  {
    sentence: 'a forwarded packet that looks like one',
    packet: { ...uplinkIn, ...to(unknown), ...solicitation, hoplimit: 254 },
    verdict: 'drop',
  },
  { sentence: 'prerouting: a pod in quarantine', hook: 'prerouting', packet: from(0x74670000), verdict: 'drop' },
  { sentence: 'the node to a pod whose link waits to be deleted', packet: to(0x7467fffe), verdict: 'drop' },
  {
    sentence: 'prerouting: a pod whose link waits to be deleted',
    hook: 'prerouting',
    packet: from(0x7467fffe),
    verdict: 'drop',
  },
  { sentence: 'prerouting: a condemned pod', hook: 'prerouting', packet: from(0x7467ffff), verdict: 'drop' },
  {
    sentence: 'prerouting: a pod with a source address that is not its own',
    hook: 'prerouting',
    packet: { ...from(open), sourceRouted: false },
    verdict: 'drop',
  },
  {
    sentence: 'prerouting: the same from the uplink, which is none of ours',
    hook: 'prerouting',
    packet: { ...uplinkIn, sourceRouted: false },
    verdict: 'accept',
  },
  {
    sentence: 'prerouting: a pod under a link-local address, which the node would have to remember',
    hook: 'prerouting',
    packet: { ...from(open), family: 6, saddr: (0xfe80n << 112n) + 1n, daddr: address6(1).value },
    verdict: 'drop',
  },
  {
    sentence: 'prerouting: the same from the uplink, whose neighbours are the node’s',
    hook: 'prerouting',
    packet: { ...uplinkIn, family: 6, saddr: (0xfe80n << 112n) + 1n, daddr: address6(1).value },
    verdict: 'accept',
  },
  { sentence: 'prerouting: a pod with its own address', hook: 'prerouting', packet: from(open), verdict: 'accept' },
];

const verdictOf = (table: Table, { hook = 'postrouting', packet }: Row) =>
  tracerOf(table)(hook, { ...syn4, ...packet }).verdict;

for (const row of rows) test(`${row.sentence}: ${row.verdict}`, () => assert.equal(verdictOf(table, row), row.verdict));

test('no line of the gate can go: without it, one of these packets meets another verdict', () => {
  for (const chain of table.chains) {
    for (const [i, { statements }] of chain.rules.entries()) {
      if (statements.some(({ kind }) => kind === 'log')) continue;
      const shorter = { ...chain, rules: chain.rules.toSpliced(i, 1) };
      const without = { ...table, chains: table.chains.map(other => (other === chain ? shorter : other)) };
      assert.ok(
        rows.some(row => verdictOf(without, row) !== row.verdict),
        `${chain.name}, line ${i + 1}`,
      );
    }
  }
});

test('a denial is logged with the prefix of the chain that denied', () => {
  const { logged, path } = tracerOf(table)('postrouting', { ...syn4, ...from(client), ...to(web), dport: 81 });
  assert.deepEqual(logged, ['in-3d4c ']);
  assert.deepEqual(
    path.map(({ chain }) => chain),
    ['gate', 'egress', 'gate', 'ingress', 'in-3d4c'],
  );
});
