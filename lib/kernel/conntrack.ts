/**
 * Connections that the kernel tracks: found by the addresses that they have, and forgotten, so that the gate judges the next
 * packet anew. A kernel that tracks none (no nf_conntrack) has nothing to find and nothing to forget.
 *
 * The kernel's table, and the lock before it, are one for all network namespaces: a request may stand behind walks that other
 * programs asked for, and each of ours holds others up. So requests go by a channel that leaves this thread free, one at a
 * time; what is asked for during a walk is done together by the next; and where walks for each address would cost more than one
 * that lists everything, there is only that one.
 */

import type { Address, Family } from '../ip/address.ts';
import type { NetlinkChannel } from './channel.ts';
import { addressKey, ConntrackReader, type TrackedEntry, type TrackedFlow } from './conntrack-entry.ts';
import { dumpFiltered, dumpFlows, type FlowFilter, forgetFiltered, forgetFlow, IPPROTO } from './conntrack-request.ts';
import {
  isErrno,
  must,
  mustExcept,
  type NetlinkAnswer,
  type NetlinkReply,
  type NetlinkRequest,
  refusalOf,
} from './message.ts';
import { findSysctl } from './sysctl.ts';

/** Selects connections by something that they have in common. */
export type FlowKey =
  /**
   * Connections that the address opened, or that lead to it after translation: no other connection has packets from it or to it.
   */
  | { readonly address: Address }
  /** UDP sent to that port, before translation. */
  | { readonly udpPort: number; readonly family: Family };

/** More walks than this cost more than to list every connection, however many there are. */
const MOST_WALKS = 16;
/** To list this many connections costs what a walk costs that lists none: it looks into each of the table's empty places. */
const CONNECTIONS_PER_WALK = 3_000;
/** Connections that are assumed where the kernel does not count them: those of a busy node. */
const BUSY = 100_000;

/** Connections of the network namespace that the calling thread is in; undefined where the kernel does not tell. */
export function countTracked(): number | undefined {
  const text = findSysctl('netfilter/nf_conntrack_count');
  return text === undefined ? undefined : Number(text);
}

/**
 * Whether the kernel selects by the filters of this key what they say. It compares IPv6 addresses the wrong way round, and
 * passes the connections of all others.
 * @see ctnetlink_filter_match_tuple() of net/netfilter/nf_conntrack_netlink.c, from Linux 5.8 to 6.18 at least
 */
const isFilterable = (key: FlowKey): boolean => !('address' in key && key.address.family === 6);

function filtersOf(key: FlowKey): readonly FlowFilter[] {
  if (!('address' in key))
    return [{ family: key.family, direction: 'original', protocol: IPPROTO.UDP, destinationPort: key.udpPort }];
  const { address: source } = key;
  const { family } = source;
  return [
    { family, direction: 'original', source },
    { family, direction: 'reply', source },
  ];
}

function matcherOf(keys: readonly FlowKey[]): (entry: TrackedEntry) => boolean {
  const addresses = new Set<string>();
  const ports = new Set<string>();
  for (const key of keys)
    if ('address' in key) addresses.add(addressKey(key.address));
    else ports.add(`${key.family} ${key.udpPort}`);
  const isPort = ({ from, protocol, sentToPort }: TrackedEntry): boolean =>
    protocol === IPPROTO.UDP && ports.has(`${from.length === 4 ? 4 : 6} ${sentToPort}`);
  return entry => addresses.has(entry.from) || addresses.has(entry.to) || (ports.size > 0 && isPort(entry));
}

/** Codes of a kernel that tracks nothing, or does not know the filter. */
const unknown = ['EINVAL', 'EOPNOTSUPP'];
const isUnknown = (answer: NetlinkAnswer): boolean => unknown.includes(refusalOf(answer) ?? '');

export class Conntrack {
  readonly #channel: NetlinkChannel;
  readonly #count: () => number | undefined;
  /** The request that may stand behind the kernel's lock: a second one would only hold another thread there. */
  #asking: Promise<unknown> = Promise.resolve();
  #forgetting: Promise<void> = Promise.resolve();
  /** Keys of the connections that the next walk is to forget. */
  readonly #due: FlowKey[] = [];
  #next: Promise<void> | undefined;

  /** @param count connections of the channel's network namespace */
  constructor(channel: NetlinkChannel, count: () => number | undefined = countTracked) {
    this.#channel = channel;
    this.#count = count;
  }

  async #inTurn<T>(ask: () => Promise<T>): Promise<T> {
    const asked = this.#asking.then(ask);
    this.#asking = asked.catch(() => undefined);
    return await asked;
  }

  /** Connections with one of the keys, or all, some at a time; one that two of the keys select may come twice. */
  async *flows(keys?: readonly FlowKey[]): AsyncGenerator<readonly TrackedFlow[], void> {
    const reader = new ConntrackReader();
    const matches = keys ? matcherOf(keys) : () => true;
    for (const request of this.#requestsFor(keys))
      for await (const replies of this.#dump(request)) {
        const found: TrackedFlow[] = [];
        for (const { body } of replies) {
          const entry = reader.read(body);
          if (entry && matches(entry)) found.push({ entry, message: body });
        }
        yield found;
      }
  }

  #requestsFor(keys: readonly FlowKey[] | undefined): readonly NetlinkRequest[] {
    const count = this.#count() ?? BUSY;
    if (count === 0) return [];
    if (!keys) return [dumpFlows()];
    const filtered = keys.filter(isFilterable).flatMap(filtersOf).map(dumpFiltered);
    const walks = keys.every(isFilterable) ? filtered : [...filtered, dumpFlows(6)];
    const isWhole = walks.length > MOST_WALKS || count <= (walks.length - 1) * CONNECTIONS_PER_WALK;
    return isWhole ? [dumpFlows()] : walks;
  }

  async *#dump(request: NetlinkRequest): AsyncGenerator<readonly NetlinkReply[], void> {
    const dump = this.#channel.dump(request);
    try {
      // The kernel's lock is held for the first part only.
      for (let part = await this.#inTurn(() => dump.next()); !part.done; part = await dump.next()) yield part.value;
    } catch (error) {
      if (!isErrno(error, ...unknown)) throw error;
    } finally {
      await dump.return();
    }
  }

  /** Forgets them, each by its own key. @returns how many were there still */
  async delete(flows: readonly TrackedFlow[]): Promise<number> {
    if (flows.length === 0) return 0;
    const requests = flows.map(({ message }) => forgetFlow(message));
    const answers = await this.#inTurn(() => this.#channel.exchange(requests));
    mustExcept(answers, 'ENOENT');
    return answers.filter(answer => refusalOf(answer) === undefined).length;
  }

  /**
   * Forgets the connections with any of the keys, and no others. Resolves when a walk that began after the call has ended.
   * @throws NetlinkError the kernel refused
   */
  async forget(keys: readonly FlowKey[]): Promise<void> {
    if (keys.length === 0) return;
    this.#due.push(...keys);
    this.#next ??= this.#forgetDue();
    await this.#next;
  }

  async #forgetDue(): Promise<void> {
    await this.#forgetting.catch(() => undefined);
    const keys = this.#due.splice(0);
    this.#next = undefined;
    this.#forgetting = this.#forgetNow(keys);
    await this.#forgetting;
  }

  async #forgetNow(keys: readonly FlowKey[]): Promise<void> {
    if (this.#count() === 0) return;
    const filters = keys.filter(isFilterable).flatMap(filtersOf);
    // A walk that only forgets passes over empty places: where few are tracked it costs a hundredth of one that lists.
    const isFiltered = filters.length === 0 || (filters.length <= MOST_WALKS && (await this.#forgetFiltered(filters)));
    const left = isFiltered ? keys.filter(key => !isFilterable(key)) : keys;
    if (left.length === 0) return;
    for await (const flows of this.flows(left)) await this.delete(flows);
  }

  /** @returns false where the kernel cannot */
  async #forgetFiltered(filters: readonly FlowFilter[]): Promise<boolean> {
    const answers = await this.#inTurn(() => this.#channel.exchange(filters.map(forgetFiltered)));
    if (answers.some(isUnknown)) return false;
    must(answers);
    return true;
  }
}
