/**
 * A node as a user has it: pods plugged in by the executable, policies in a folder, `tollgate policy apply`. What they send
 * and what reaches them is made and counted by the test.
 */
import { renameSync, rmSync } from 'node:fs';
import { type Address, type Family, parseAddress } from '../../lib/ip/address.ts';
import { getLink, linkOf } from '../../lib/kernel/link.ts';
import { must } from '../../lib/kernel/message.ts';
import { Netns } from '../../lib/kernel/netns.ts';
import type { ReadTable } from '../../lib/kernel/nft.ts';
import { PROTOCOL } from '../../lib/nft/statements.ts';
import { findLink } from '../../lib/pod/links.ts';
import { live, named } from './cli-host.ts';
import {
  add,
  addresses,
  type Call,
  config,
  type Json,
  type Outcome,
  policies,
  type Result,
  silently,
  tollgate,
} from './cni.ts';
import { type Exit, Host, type HostOptions, type Run } from './host.ts';
import type { Packet } from './packet.ts';
import { type End, Tap } from './tap.ts';
import { furnished } from './way.ts';
import { linksOf, packetId, tableName, WiredHost, wires } from './wired-host.ts';

export interface PodOptions {
  readonly labels?: Readonly<Record<string, string>>;
  readonly namespace?: string;
  /** More keys of the configuration. */
  readonly config?: Json;
  /** Network namespace of the pod; absent: a new one. */
  readonly netns?: string;
}

/** Subnets of both families; pods get the addresses from the third on. */
export const ranges = { v4: '10.77.0.0/24', v6: 'fd77::/64' };

export const PORT = 80;

export class PluggedPod implements Disposable {
  readonly name: string;
  readonly call: Call;
  readonly result: Result;
  readonly addresses: Readonly<Record<Family, Address>>;
  readonly end: Tap;
  readonly place: Netns;
  readonly #host: Host;
  #isGone = false;

  constructor(host: Host, name: string, call: Call, result: Result) {
    this.#host = host;
    this.name = name;
    this.call = call;
    this.result = result;
    const [four, six] = addresses(result).map(text => parseAddress(text)!);
    this.addresses = { 4: four!, 6: six! };
    this.place = Netns.open(host.path(`/run/netns/${call.netns}`));
    const inner = linksOf(this.place).find(link => link.name === 'eth0')!;
    this.end = new Tap(this.place, inner.ifindex, result.interfaces![0]!.mac);
  }

  /** The node's end. */
  get link(): string {
    return this.result.interfaces![0]!.name;
  }

  async unplug(): Promise<void> {
    await silently(this.#host, 'DEL', this.call);
    this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.end[Symbol.dispose]();
    this.place[Symbol.dispose]();
  }
}

export class PolicyHost extends WiredHost {
  #sports = 20_000;

  static async start(options: HostOptions = {}): Promise<PolicyHost> {
    const setup = `mkdir -p ${policies}; ${wires}${options.setup ?? ''}`;
    return new PolicyHost(await furnished(await Host.start({ ...options, setup })));
  }

  /** A file of the folder, in one piece. */
  put(file: string, ...manifests: readonly (Json | string)[]): void {
    const text = manifests.map(each => (typeof each === 'string' ? each : JSON.stringify(each))).join('\n---\n');
    this.host.write(`${policies}/.next`, text);
    renameSync(this.host.path(`${policies}/.next`), this.host.path(`${policies}/${file}`));
  }

  remove(file: string): void {
    rmSync(this.host.path(`${policies}/${file}`));
  }

  /** `tollgate …` on this node's folders. */
  type(args: readonly string[], run: Run = {}): Promise<Exit> {
    return this.host.run([tollgate, ...args, ...live], run);
  }

  /** `tollgate policy apply`, which must succeed. @returns what it says */
  async apply(...more: readonly string[]): Promise<string> {
    return await this.host.must([tollgate, 'policy', 'apply', ...more, ...live]);
  }

  callOf(
    name: string,
    netns: string,
    { labels = {}, namespace = 'default', config: more = {} }: PodOptions = {},
  ): Call {
    return { config: config({ labels, ...more }, ranges), containerID: name, netns, args: named(namespace, name) };
  }

  async plug(name: string, options: PodOptions = {}): Promise<PluggedPod> {
    const call = this.callOf(name, options.netns ?? (await this.host.pod()), options);
    return new PluggedPod(this.host, name, call, await add(this.host, call));
  }

  /** The pod that an ADD has plugged in. */
  plugged(name: string, call: Call, { stdout }: Exit): PluggedPod {
    return new PluggedPod(this.host, name, call, JSON.parse(stdout) as Result);
  }

  /** A datagram from one to the other. */
  packet(from: Address, to: Address, more: Partial<Packet> = {}): Packet {
    return { from, to, protocol: PROTOCOL.udp, sport: ++this.#sports, dport: PORT, ...more };
  }

  /** Whether the packet that is sent from there arrives here. */
  arrives(from: End, packet: Packet, to: End): boolean {
    return this.received(from, packet, to).some(found => packetId(found) === packetId(packet));
  }

  /** Whether a pod can open something to another, in each family and by UDP as by TCP. @throws Error where that differs */
  reaches(from: PluggedPod, to: PluggedPod): boolean {
    const answers = ([4, 6] as const).flatMap(family =>
      [PROTOCOL.udp, PROTOCOL.tcp].map(protocol => {
        const packet = this.packet(from.addresses[family], to.addresses[family], { protocol });
        return this.arrives(from.end, packet, to.end);
      }),
    );
    if (new Set(answers).size > 1) throw new Error(`${from.name} to ${to.name}: ${answers.join(' ')}`);
    return answers[0]!;
  }

  read(): ReadTable | undefined {
    return this.nft.read(tableName);
  }

  /** The table's listing by nft(8), its parts sorted, without marker, handle and owner, so that two tables can be compared. */
  async words(): Promise<string> {
    const listed = await this.host.sh('nft -s list table inet tollgate');
    const text = listed.replace(/^(table inet tollgate \{).*\n(\tflags.*\n)?/, '$1\n');
    const blocks = text.replace(/(set marker \{[^}]*elements = )\{[^}]*\}/, '$1').split('\n\n');
    return blocks
      .map(block => block.replace(/\n}\n$/, ''))
      .sort()
      .join('\n\n');
  }

  isThere({ link }: PluggedPod): boolean {
    return findLink(this.exchange, { name: link }) !== undefined;
  }

  groupOf({ link }: PluggedPod): number {
    return linkOf(must(this.exchange([getLink({ name: link })]))[0]![0]!).group;
  }
}

/** A NetworkPolicy manifest. */
export const policy = (name: string, spec: Json, namespace = 'default'): Json => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { namespace, name },
  spec,
});

/** Pods with that label. */
export const pods = (labels: Readonly<Record<string, string>>) => ({ podSelector: { matchLabels: labels } });

/** A policy by which pods with one label may be called by pods with the other, and by no others. */
export const onlyFrom = (name: string, to: Readonly<Record<string, string>>, from: Readonly<Record<string, string>>) =>
  policy(name, { ...pods(to), policyTypes: ['Ingress'], ingress: [{ from: [pods(from)] }] });

/** All output of a call. */
export const words = ({ stdout, stderr }: Exit | Outcome): string => `${stdout}${stderr}`;
