/** Denied packets as the node logs them, made flows of; and what its counters know beyond the log. One holds a log at a time. */
import { countedDenial } from '../gate/denial.ts';
import { TABLE } from '../gate/desired.ts';
import { NetlinkError } from '../kernel/message.ts';
import { holderOf, type LoggedPacket, PacketLog } from '../kernel/nflog.ts';
import type { Nft } from '../kernel/nft.ts';
import { NFNLGRP, Subscription } from '../kernel/subscription.ts';
import { decodeRuleCounts, type RuleCount } from '../nft/decode.ts';
import { tableNameIn } from '../nft/query.ts';
import { messageType, NFT_MSG } from '../nft/wire.ts';
import { Denials, type DeniedFlow, type DeniedSum, type DropCounter, type NodeNames } from './flow-denials.ts';

const tableName = { family: 'inet', name: TABLE } as const;

/** Packets that each rule that denies has dropped; no other rule of those chains counts for itself. */
const denying = (counts: readonly RuleCount[]): DropCounter[] =>
  counts
    .filter(({ chain }) => /^(in-|out-|ingress$|egress$)/.test(chain))
    .map(count => ({ denial: countedDenial(count), rule: count.rule, packets: Number(count.counted.packets) }));

/** Tells the last count of each denying rule that a change of policy deletes, as the kernel deletes it. */
const watchRemovals = (onGone: (counter: DropCounter) => void): Subscription =>
  new Subscription('netfilter', [NFNLGRP.NFTABLES], {
    mayMiss: true,
    onMessage: ({ type, body }) => {
      if (type !== messageType(NFT_MSG.DELRULE) || tableNameIn(body) !== TABLE) return;
      for (const counter of denying(decodeRuleCounts([body]))) onGone(counter);
    },
    // The counters are looked at anyway: only what was counted since the last look and the end of a chain is missed.
    onLost: () => {},
  });

/**
 * A look tells what the one before it saw, and the kernel gathers packets for a while before it sends them: so many looks,
 * so many milliseconds apart.
 */
const LOOKS = 3;
const APART = 1_000;
/** The last looks: milliseconds for which the kernel gathers packets, and then some. */
const LAST_LOOKS = 2;
const GATHERED = 200;

export interface DenialListener {
  readonly flow: (flow: DeniedFlow, packet: LoggedPacket) => void;
  readonly sum: (sum: DeniedSum) => void;
  /** Called when the watch has ended, with the reason. */
  readonly ended: (error: Error) => void;
}

export class DenialWatch implements Disposable {
  readonly #denials = new Denials();
  readonly #nft: Nft;
  readonly #names: NodeNames;
  readonly #listener: DenialListener;
  readonly #removals: Subscription;
  readonly #log: PacketLog;
  readonly #group: number;
  /** Looks at the counters that the last packet is still worth. */
  #due = 0;
  #looking: NodeJS.Timeout | undefined;
  #isEnding = false;
  #isOver = false;

  constructor(
    place: { readonly group: number; readonly nft: Nft; readonly names: NodeNames },
    listener: DenialListener,
  ) {
    const { group, nft, names } = place;
    this.#group = group;
    this.#nft = nft;
    this.#names = names;
    this.#listener = listener;
    this.#removals = watchRemovals(counter => this.#denials.close(counter));
    this.#denials.begin(this.#counters());
    this.#log = new PacketLog(group, {
      onPacket: packet => this.#take(packet),
      onEnd: error => listener.ended(error),
    });
  }

  #counters(): DropCounter[] {
    return denying(this.#nft.readRuleCounts(tableName));
  }

  #take(packet: LoggedPacket): void {
    this.#due = LOOKS;
    if (!this.#isEnding) this.#looking ??= this.#lookLater();
    const flow = this.#denials.take(packet, this.#names);
    if (flow) this.#listener.flow(flow, packet);
  }

  /** Resolves when packets come here. @throws Error, which names who else holds the log */
  async ready(): Promise<void> {
    try {
      await this.#log.ready;
    } catch (error) {
      const holder =
        error instanceof NetlinkError && ['EPERM', 'EBUSY'].includes(error.code) ? holderOf(this.#group) : undefined;
      throw holder
        ? new Error(`Cannot read nflog group ${this.#group}: ${holder} holds it, and only one process can`)
        : error;
    }
  }

  /**
   * Sums up what the log has left out, once all that has come was read, however long this process was held up: what waits to
   * be read would be told twice.
   */
  async #look(): Promise<void> {
    do await new Promise(done => setImmediate(done));
    while (!this.#isOver && this.#log.isBehind);
    if (this.#isOver) return;
    for (const sum of this.#denials.sum(this.#counters(), Date.now() / 1000, this.#names)) this.#listener.sum(sum);
  }

  /** Again while there can be something to sum up: a chain logs its first packets whatever its limit is. */
  async #lookSoon(): Promise<void> {
    try {
      await this.#look();
      this.#due--;
      this.#looking = this.#due > 0 && !this.#isEnding ? this.#lookLater() : undefined;
    } catch (error) {
      this.#listener.ended(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #lookLater(): NodeJS.Timeout {
    return setTimeout(() => void this.#lookSoon(), APART).unref();
  }

  /** Resolves when all that was denied before the call has been told. */
  async finish(): Promise<void> {
    this.#isEnding = true;
    clearTimeout(this.#looking);
    for (let looks = 0; looks < LAST_LOOKS; looks++) {
      await new Promise(done => setTimeout(done, GATHERED));
      await this.#look();
    }
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    clearTimeout(this.#looking);
    this.#log[Symbol.dispose]();
    this.#removals[Symbol.dispose]();
  }
}
