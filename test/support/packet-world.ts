/** A node that becomes that of one random world after the other, and what its gate does to a packet of each flow. */
import { desiredTable } from '../../lib/gate/desired.ts';
import { formatAddress } from '../../lib/ip/address.ts';
import { PROTOCOL } from '../../lib/nft/statements.ts';
import { quarantine } from '../../lib/tag/tag.ts';
import type { GateHost } from './gate-host.ts';
import type { Packet } from './packet.ts';
import type { End } from './tap.ts';
import { arrivals, packetId } from './wired-host.ts';
import type { NodeWorld, Party, WorldFlow } from './world-flows.ts';

export const protocolOf = ({ protocol, family }: WorldFlow): number =>
  ({
    TCP: PROTOCOL.tcp,
    UDP: PROTOCOL.udp,
    SCTP: PROTOCOL.sctp,
    other: family === 4 ? PROTOCOL.icmp : PROTOCOL.icmpv6,
  })[protocol];

export const tagAt = ({ place }: Party): number => (place.kind === 'pod' ? place.tag : 0);

export class PacketWorld {
  readonly #host: GateHost;

  constructor(host: GateHost) {
    this.#host = host;
  }

  /** The node becomes that of this world: its pods behind their wires, everybody else beyond. */
  become({ state, ruleset, parties }: NodeWorld): void {
    const host = this.#host;
    const here = parties.filter(({ place }) => place.kind === 'pod');
    for (const pod of host.pods) {
      const own = Object.values(pod.addresses).map(address => ({
        address,
        party: here.find(party => party.address === formatAddress(address)),
      }));
      host.tag(pod, own.map(({ party }) => party && tagAt(party)).find(tag => tag !== undefined) ?? quarantine);
      for (const { address, party } of own) host.lead(address, party ? pod : 'near');
    }
    host.bring(desiredTable(state, 1, ruleset));
    host.forget();
  }

  endOf({ place, at }: Party): End {
    if (place.kind === 'node') return this.#host.node;
    if (place.kind === 'beyond') return this.#host.near;
    return this.#host.pods.find(pod => pod.addresses[at.family].value === at.value)!.end;
  }

  /**
   * Sends the first packet of each flow, and tells which arrive where they should.
   * @param firstPort source port (of an echo: the identifier) of the first flow's packet; the others follow
   */
  probe(flows: readonly WorldFlow[], firstPort = 10_000): Set<WorldFlow> {
    const ends = new Set(flows.map(({ to }) => this.endOf(to)));
    for (const end of ends) end.take();
    const sent = flows.map((flow, i): readonly [WorldFlow, Packet] => [flow, packetOf(flow, firstPort + i)]);
    for (const [{ from }, packet] of sent) this.endOf(from).send(packet);
    this.#host.settle();
    const arrived = new Map([...ends].map(end => [end, arrivals(end)]));
    return new Set(
      sent.filter(([{ to }, packet]) => arrived.get(this.endOf(to))!.has(packetId(packet))).map(([flow]) => flow),
    );
  }
}

const packetOf = (flow: WorldFlow, sport: number): Packet => ({
  from: flow.from.at,
  to: flow.to.at,
  protocol: protocolOf(flow),
  sport,
  dport: flow.port,
});
