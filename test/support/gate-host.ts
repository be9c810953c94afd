/** A node with pods that were plugged in by hand, and a table that only the test makes. */

import { desiredTable } from '../../lib/gate/desired.ts';
import { emptyNode, joined, type LocalPod, podKey } from '../../lib/gate/node-state.ts';
import type { GateSettings } from '../../lib/gate/settings.ts';
import { type Address, type Family, formatAddress, type Prefix } from '../../lib/ip/address.ts';
import { dumpLinks, linkOf, setLink } from '../../lib/kernel/link.ts';
import { must } from '../../lib/kernel/message.ts';
import { Netns } from '../../lib/kernel/netns.ts';
import { replaceRoute } from '../../lib/kernel/route.ts';
import { diff } from '../../lib/nft/diff.ts';
import type { Table } from '../../lib/nft/model.ts';
import { dispatchInline } from '../../lib/pod/dispatch.ts';
import { createPair, plugIn } from '../../lib/pod/interface.ts';
import { hostPrefix, layout } from '../../lib/pod/plan.ts';
import type { Ruleset } from '../../lib/policy/compile/ruleset.ts';
import { Host } from './host.ts';
import { Tap } from './tap.ts';
import { linksOf, macOf, nearAddress, WiredHost, wires } from './wired-host.ts';

export interface GatePod {
  readonly index: number;
  readonly netns: Netns;
  readonly addresses: Readonly<Record<Family, Address>>;
  /** The node's end. */
  readonly link: string;
  readonly ifindex: number;
  /** The pod's end. */
  readonly mac: string;
  readonly end: Tap;
}

const MTU = 1500;

export interface TableOptions {
  readonly settings?: Partial<GateSettings>;
  readonly ruleset?: Ruleset;
}

export class GateHost extends WiredHost {
  readonly pods: GatePod[] = [];
  #table: Table | undefined;

  /** Pod i has the addresses 10.0.0.<i+1> and fd00::<i+1>, and is in quarantine. */
  static async start(count: number): Promise<GateHost> {
    const host = await Host.start({ setup: wires });
    try {
      const gate = new GateHost(host);
      for (const [index, name] of (await host.netns(count)).entries())
        gate.pods.push(await gate.#plug(Netns.open(host.path(`/run/netns/${name}`)), index));
      return gate;
    } catch (error) {
      host[Symbol.dispose]();
      throw error;
    }
  }

  private constructor(host: Host) {
    super(host);
  }

  async #plug(netns: Netns, index: number): Promise<GatePod> {
    const addresses = {
      4: { family: 4, value: 0x0a000001n + BigInt(index) },
      6: { family: 6, value: (0xfd00n << 112n) + 1n + BigInt(index) },
    } as const;
    const ips = Object.values(addresses).map(address => ({ address: subnetOf(address) }));
    const link = `tgpod${index}`;
    const wanted = {
      hostName: link,
      hostMac: macOf(index, 1),
      ifname: 'eth0',
      podMac: macOf(index, 2),
      mtu: MTU,
      alias: `tollgate:test/p${index}:${index}`,
      layout: layout({ interfaces: [], ips, routes: [] }),
      routeLocalnet: true,
    };
    const dispatch = dispatchInline(this.exchange);
    const pair = await createPair(dispatch, this.exchange, netns, wanted);
    const { ifindex } = pair;
    const options = { dispatch, meanwhile: async () => undefined };
    // The calls that depend on the thread's namespace are made before the first await.
    const { plugged } = this.inside(() => ({ plugged: plugIn(this.exchange, pair, netns, wanted, options) }));
    await plugged;
    const inner = linksOf(netns).find(({ name }) => name === 'eth0')!;
    return {
      index,
      netns,
      addresses,
      link,
      ifindex,
      mac: wanted.podMac,
      end: new Tap(netns, inner.ifindex, wanted.hostMac),
    };
  }

  override [Symbol.dispose](): void {
    for (const { end, netns } of this.pods) {
      end[Symbol.dispose]();
      netns[Symbol.dispose]();
    }
    super[Symbol.dispose]();
  }

  /** Gives the pod's link a group: a tag, quarantine, or any other. */
  tag({ ifindex }: GatePod, group: number): void {
    must(this.exchange([setLink({ ifindex }, { group })]));
  }

  /** The node's route to an address leads to the pod's link, or beyond. */
  lead(address: Address, to: GatePod | 'near'): void {
    const destination = hostPrefix(address);
    const beyond = { gateway: nearAddress[address.family], oif: this.#ifindexOf('near') };
    must(this.exchange([replaceRoute({ destination, ...(to === 'near' ? beyond : { oif: to.ifindex }) })]));
  }

  #ifindexOf(name: string): number {
    return must(this.exchange([dumpLinks('veth')]))
      .flat()
      .map(linkOf)
      .find(link => link.name === name)!.ifindex;
  }

  /** Whatever the table is, it becomes this one, in one transaction. */
  bring(table: Table): void {
    this.nft.commit(diff(this.#table, table));
    this.#table = table;
  }
}

const subnetOf = ({ family, value }: Address): Prefix => ({ family, value, length: family === 4 ? 24 : 64 });

/** The pod in the node's state; its labels tell it from other pods. */
export const localPod = (
  pod: GatePod,
  tag: number,
  more: Partial<Omit<LocalPod, 'masquerade'>> & Pick<LocalPod, 'masquerade'> = {},
): LocalPod => ({
  network: 'test',
  containerID: `c${pod.index}`,
  ifname: 'eth0',
  link: pod.link,
  ifindex: pod.ifindex,
  namespace: 'test',
  name: `p${pod.index}`,
  labels: {},
  namedPorts: [],
  addresses: Object.values(pod.addresses).map(formatAddress),
  given: { config: {}, call: {} },
  hostPorts: [],
  tag,
  ...more,
});

const owner = { enforcer: 'inline', stateDir: '/none', policies: '/none' };

/** The table of a node with these pods. */
export function tableOf(pods: readonly LocalPod[], { settings = {}, ruleset }: TableOptions = {}): Table {
  const all = { judge: 'inline', nflogGroup: 7467, enforceEgressToNode: false, ...settings } as const;
  const state = joined(emptyNode(owner, all), Object.fromEntries(pods.map(pod => [podKey(pod), pod])), () => false);
  return desiredTable(state, 1, ruleset);
}
