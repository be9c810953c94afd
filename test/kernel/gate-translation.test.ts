/** The kernel's NAT comes with the first pod that is in need of it, and goes with the last, under traffic. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { HostPort } from '../../lib/gate/node-state.ts';
import type { Address, Family } from '../../lib/ip/address.ts';
import { PROTOCOL } from '../../lib/nft/statements.ts';
import { GateHost, type GatePod, localPod, tableOf } from '../support/gate-host.ts';
import type { Packet } from '../support/packet.ts';
import type { End } from '../support/tap.ts';
import { nearAddress, nodeAddress, packetId } from '../support/wired-host.ts';

const tags = { open: 0x74670001, deaf: 0x74670002 };
const identity = { namespace: 'test', labels: new Map<string, string>(), namedPorts: [] };
const ruleset = {
  sets: new Map(),
  chains: new Map([
    ['in-nothing', { name: 'in-nothing', direction: 'ingress', rules: [], policies: ['NetworkPolicy/test/nothing'] }],
  ] as const),
  tags: new Map([
    [tags.open, { identity, egress: 'open', ingress: 'open' }],
    [tags.deaf, { identity, egress: 'open', ingress: 'in-nothing' }],
  ]),
} as const;
const hostPorts: readonly HostPort[] = [{ hostPort: 8080, containerPort: 80, protocol: 'udp' }];

let host: GateHost;
let a: GatePod;
let b: GatePod;
before(async () => {
  host = await GateHost.start(2);
  [a, b] = host.pods as [GatePod, GatePod];
  host.tag(a, tags.open);
  host.tag(b, tags.deaf);
});
after(() => host[Symbol.dispose]());

const table = (ports: readonly HostPort[]) =>
  tableOf([localPod(a, tags.open, { hostPorts: ports }), localPod(b, tags.deaf)], { ruleset });

let sports = 20_000;
const udp = (from: Address, to: Address, dport = 80): Packet => ({
  from,
  to,
  protocol: PROTOCOL.udp,
  sport: ++sports,
  dport,
});
const answerTo = ({ from, to, sport, dport, protocol }: Packet): Packet => ({
  ...{ from: to, to: from, sport: dport, dport: sport, protocol },
});
const arrives = (end: End, packet: Packet, at: End): boolean =>
  host.received(end, packet, at).some(found => packetId(found) === packetId(packet));

const typesThere = (): string[] => [
  ...new Set(
    host.nft
      .baseChains()
      .filter(({ table }) => table === 'tollgate')
      .map(({ base }) => base.type),
  ),
];

for (const f of [4, 6] as const satisfies readonly Family[])
  test(`connections of before go on, and what was denied stays denied, while hostPorts come and go: IPv${f}`, () => {
    host.bring(table([]));
    host.forget();
    assert.deepEqual(typesThere(), ['filter']);
    const [question, unanswered] = [1, 2].map(() => udp(b.addresses[f], a.addresses[f])) as [Packet, Packet];
    assert.ok(arrives(b.end, question, a.end));
    assert.ok(arrives(a.end, answerTo(question), b.end));
    assert.ok(arrives(b.end, unanswered, a.end));
    for (const [ports, isMapped] of [
      [hostPorts, true],
      [[], false],
      [hostPorts, true],
    ] as const) {
      host.bring(table(ports));
      assert.deepEqual(typesThere().includes('nat'), isMapped);
      const when = `with ${ports.length} hostPorts`;
      assert.ok(arrives(b.end, question, a.end), `a question ${when}`);
      assert.ok(arrives(a.end, answerTo(question), b.end), `its answer ${when}`);
      assert.ok(arrives(b.end, unanswered, a.end), `a question that has no answer yet ${when}`);
      assert.ok(!arrives(a.end, udp(a.addresses[f], b.addresses[f]), b.end), `no policy lets a call b ${when}`);
      const called = udp(nearAddress[f], nodeAddress[f], 8080);
      assert.equal(arrives(host.near, called, a.end), isMapped, `a hostPort ${when}`);
      if (isMapped) {
        const answer = { ...answerTo(called), from: a.addresses[f], sport: 80 };
        assert.ok(
          host.received(a.end, answer, host.near).some(found => found.sport === 8080),
          `its answer ${when}`,
        );
      }
    }
    host.bring(table([]));
    assert.ok(arrives(a.end, answerTo(unanswered), b.end), 'the late answer');
  });
