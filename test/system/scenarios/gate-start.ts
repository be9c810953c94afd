/** No packet before the gate: pods that send from their first instant, while the node is as busy as it gets. */
import assert from 'node:assert/strict';
import { renameSync } from 'node:fs';
import test from 'node:test';
import { parseAddress } from '../../../lib/ip/address.ts';
import { dumpLinks, type Link, linkOf } from '../../../lib/kernel/link.ts';
import { must } from '../../../lib/kernel/message.ts';
import { NetlinkSocket } from '../../../lib/kernel/netlink.ts';
import { inNetns, Netns } from '../../../lib/kernel/netns.ts';
import { Nft } from '../../../lib/kernel/nft.ts';
import { PROTOCOL } from '../../../lib/nft/statements.ts';
import { live } from '../../support/cli-host.ts';
import { add, addresses, type Call, config, policies, silently, startHost, tollgate } from '../../support/cni.ts';
import { EagerPods } from '../../support/eager.ts';
import type { Host } from '../../support/host.ts';
import type { Packet } from '../../support/packet.ts';
import { NodeEnd, settle, Tap } from '../../support/tap.ts';
import { until } from '../../support/until.ts';
import type { Way } from '../../support/way.ts';
import { tableName } from '../../support/wired-host.ts';

const ranges = { v4: '10.77.0.0/16', v6: 'fd77::/64' };
const PORT = 7467;

const callOf = (netns: string, containerID: string, role: string, more = {}): Call => ({
  config: config({ labels: { role }, ...more }, ranges),
  containerID,
  netns,
});

const policy = (name: string, spec: unknown): string =>
  JSON.stringify({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace: 'default', name },
    spec,
  });
const podsOf = (role: string) => ({ podSelector: { matchLabels: { role } } });
/** Pods of the role may call friends, and no other pods. */
const timid = policy('timid', { ...podsOf('timid'), policyTypes: ['Egress'], egress: [{ to: [podsOf('friend')] }] });
/** Friends may call the pods of the role, and no other pods may. */
const shy = policy('shy', { ...podsOf('shy'), ingress: [{ from: [podsOf('friend')] }] });

/** A pod that only watches what comes. */
class Watcher implements Disposable {
  readonly ips: readonly string[];
  readonly #netns: Netns;
  readonly #tap: Tap;
  readonly #node: NodeEnd;
  /** Packets by source. */
  readonly #seen = new Map<string, number>();
  #ticks: number[] = [];

  static async plug(host: Host, role: string, node: NodeEnd): Promise<Watcher> {
    const netns = await host.pod();
    const result = await add(host, callOf(netns, role, role));
    return new Watcher(host.path(`/run/netns/${netns}`), addresses(result), node);
  }

  private constructor(path: string, ips: readonly string[], node: NodeEnd) {
    this.ips = ips;
    this.#node = node;
    this.#netns = Netns.open(path);
    const { ifindex } = eth0Of(this.#netns);
    this.#tap = new Tap(this.#netns, ifindex, '00:00:00:00:00:00');
  }

  #look(): void {
    for (const { from, dport, payload, protocol } of this.#tap.take()) {
      if (dport === 9) this.#ticks.push(Number(Buffer.from(payload ?? []).toString()));
      if (dport !== PORT || (protocol !== PROTOCOL.tcp && protocol !== PROTOCOL.udp)) continue;
      const key = `${from.family} ${from.value}`;
      this.#seen.set(key, (this.#seen.get(key) ?? 0) + 1);
    }
  }

  /** How many packets have come from that address, so far. */
  from(text: string): number {
    this.#look();
    const { family, value } = parseAddress(text)!;
    return this.#seen.get(`${family} ${value}`) ?? 0;
  }

  /** How many have come from anybody, of all that were sent before this was asked. */
  total(): number {
    const to = parseAddress(this.ips[0]!)!;
    // The node may call anybody; its packets come after all that were sent before.
    const from = { family: to.family, value: ((to.value >> 16n) << 16n) + 1n } as const;
    const packet: Packet = { from, to, protocol: PROTOCOL.udp, sport: 9, dport: 9 };
    settle(
      tick => this.#node.send({ ...packet, payload: Buffer.from(String(tick)) }),
      () => {
        this.#look();
        return this.#ticks.splice(0);
      },
    );
    return [...this.#seen.values()].reduce((sum, count) => sum + count, 0);
  }

  [Symbol.dispose](): void {
    this.#tap[Symbol.dispose]();
    this.#netns[Symbol.dispose]();
  }
}

function eth0Of(netns: Netns): Link {
  using socket = inNetns(netns, () => NetlinkSocket.open('route'));
  return must(socket.exchange([dumpLinks('veth')]))
    .flat()
    .map(linkOf)
    .find(({ name }) => name === 'eth0')!;
}

/** Packets that the table dropped because they came from a pod that was not judged yet, or no more. */
function droppedClosed(place: Netns): bigint {
  using nft = inNetns(place, () => Nft.open());
  return nft.read(tableName)?.ruleCounters.get('raw')?.[1]?.packets ?? 0n;
}

export function noPacketBeforeGate(way: Way): void {
  test('200 pods that send from their first instant to whom they may not call, 16 ADDs in flight: nothing arrives', async () => {
    using host = await startHost({ way });
    await using eager = new EagerPods();
    host.write(`${policies}/both.yaml`, `${timid}\n---\n${shy}`);
    using place = Netns.open(`/proc/${host.pid}/ns/net`);
    using node = new NodeEnd(place);
    using open = await Watcher.plug(host, 'open', node);
    using closed = await Watcher.plug(host, 'shy', node);
    using friend = await Watcher.plug(host, 'friend', node);
    const width = 16;
    const starts = 200;
    const free = await host.netns(width);
    let next = 0;
    const worker = async (netns: string) => {
      for (let i = next++; i < starts; i = next++) {
        // The first pod is closed by its own gate, the second by the gate of the pod that it calls.
        const [role, victims] = i % 2 === 0 ? ['timid', [...open.ips, ...closed.ips]] : ['plain', closed.ips];
        const call = callOf(netns, `eager${i}`, role);
        const targets = [...victims, ...friend.ips];
        const id = await eager.start({ netns: host.path(`/run/netns/${netns}`), targets, port: PORT });
        const ips = addresses(await add(host, call));
        await until('the pod to reach its friend', () => ips.every(ip => friend.from(ip) > 0));
        await silently(host, 'DEL', call);
        assert.ok((await eager.stop(id)) > 0);
      }
    };
    await Promise.all(free.map(worker));
    assert.equal(open.total(), 0);
    assert.equal(closed.total(), 0);
    const early = droppedClosed(place);
    assert.ok(early >= BigInt(starts), `${early} packets came too early: were the pods eager?`);
  });

  // No launcher and no worker has a part in these.
  if (way !== 'alone') return;

  test('the same pods without a gate do get through, so that silence says something', async () => {
    using host = await startHost({ way });
    await using eager = new EagerPods();
    host.write(`${policies}/both.yaml`, `${timid}\n---\n${shy}`);
    const ungated = { enforcer: 'none' };
    const [netns, other] = (await host.netns(2)) as [string, string];
    const result = await add(host, callOf(netns, 'open', 'open', ungated));
    using watched = Netns.open(host.path(`/run/netns/${netns}`));
    using tap = new Tap(watched, eth0Of(watched).ifindex, '00:00:00:00:00:00');
    const targets = addresses(result);
    const id = await eager.start({ netns: host.path(`/run/netns/${other}`), targets, port: PORT });
    await add(host, callOf(other, 'eager', 'timid', ungated));
    const seen = new Set<string>();
    await until('both protocols in both families', () => {
      for (const { from, protocol, dport } of tap.take()) if (dport === PORT) seen.add(`${from.family} ${protocol}`);
      return seen.size === 4;
    });
    await eager.stop(id);
  });

  test('while `policy apply` swaps one deny for another, nothing passes in between', async () => {
    using host = await startHost({ way });
    await using eager = new EagerPods({ isCeaseless: true });
    const put = (text: string) => {
      host.write(`${policies}/.next`, text);
      renameSync(host.path(`${policies}/.next`), host.path(`${policies}/deny.yaml`));
    };
    /** The first denies by the caller's gate, the second by the gate of the pod that is called. */
    const denials = [timid, policy('shy', { ...podsOf('shy'), ingress: [{ from: [podsOf('friend')] }] })];
    put(denials[0]!);
    using place = Netns.open(`/proc/${host.pid}/ns/net`);
    using node = new NodeEnd(place);
    using closed = await Watcher.plug(host, 'shy', node);
    using friend = await Watcher.plug(host, 'friend', node);
    const pods = await host.netns(4);
    const ids: number[] = [];
    const ips: string[] = [];
    for (const [i, netns] of pods.entries()) {
      const targets = [...closed.ips, ...friend.ips];
      ids.push(await eager.start({ netns: host.path(`/run/netns/${netns}`), targets, port: PORT }));
      ips.push(...addresses(await add(host, callOf(netns, `timid${i}`, 'timid'))));
    }
    const apply = () => host.must([tollgate, 'policy', 'apply', ...live]);
    for (let turn = 1; turn <= 30; turn++) {
      put(denials[turn % 2]!);
      const before = ips.map(ip => friend.from(ip));
      assert.match(await apply(), /2 differences/);
      await until('each pod to have sent meanwhile', () => ips.every((ip, i) => friend.from(ip) > before[i]!));
    }
    assert.equal(closed.total(), 0);
    put(policy('other', { ...podsOf('nobody'), policyTypes: ['Egress'] }));
    await apply();
    await until('what is no longer denied to arrive', () => ips.every(ip => closed.from(ip) > 0));
    for (const id of ids) await eager.stop(id);
  });
}
