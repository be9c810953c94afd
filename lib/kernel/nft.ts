/** nf_tables of one network namespace: tables are read whole, transactions committed whole. */

import { NLM_F } from '../netlink/header.ts';
import {
  type ChainName,
  type Counted,
  decodeBaseChains,
  decodeChainNames,
  decodeCounters,
  decodeRuleCounts,
  decodeRulesOf,
  decodeTable,
  type KernelTable,
  type RuleCount,
  type TableState,
  tableStateIn,
} from '../nft/decode.ts';
import { countElements, decodeElements } from '../nft/decode-set.ts';
import { type EncodeOptions, encode } from '../nft/encode.ts';
import type { BaseChain } from '../nft/foreign.ts';
import type { Element, Key, Rule, Table, TableFamily } from '../nft/model.ts';
import {
  askAllChains,
  askChains,
  askCounters,
  askElement,
  askElements,
  askGeneration,
  askRules,
  askRulesOf,
  askSet,
  askSets,
  askTable,
  generationIn,
  type Query,
  setNameIn,
  setSizeIn,
  type TableName,
  tableNameIn,
} from '../nft/query.ts';
import type { Operation, SetDeclaration, Transaction } from '../nft/transaction.ts';
import { isErrno, must, mustExcept, type NetlinkAnswer, type NetlinkReply, type NetlinkRequest } from './message.ts';
import { NetlinkSocket } from './netlink.ts';
import { probeTableFlags, type TableFlags } from './nft-owner.ts';
import { NftError, type Refusal, refusalOf } from './nft-refusal.ts';
import { ruleChecksums } from './rule-checksum.ts';

/** How often a table is read again because something was committed meanwhile. */
const READ_ATTEMPTS = 8;

/** A table as it was read. */
export interface ReadTable extends KernelTable {
  /** To commit on condition that nothing has changed since; undefined where commits kept coming while it was read. */
  readonly generation: number | undefined;
}

/**
 * The kernel's handle of a table, and a checksum of each rule. A table's handle is never given to another one of the network
 * namespace, nor a rule's to another one of its table, but for a rule that takes the place of one (`nft replace rule`): so the
 * checksum is of the rule's handle and its expressions. Rules of a chain that have the same checksums in the same order are the
 * same rules, and so is what they look into: the kernel keeps a set for as long as a rule uses it.
 */
export interface TableChecksums {
  readonly table: number;
  /** No packet sees the table. */
  readonly isDormant: boolean;
  /** Checksums of each chain's rules, in their order. */
  readonly chains: ReadonlyMap<string, readonly number[]>;
}

/** The generation that a commit makes of this one: the kernel counts in 32 bits and leaves out 0. */
export const nextGeneration = (generation: number): number => (generation === 0xffffffff ? 1 : generation + 1);

const requestOf = ({ operation, type, dump, body }: Query): NetlinkRequest => ({
  operation,
  type,
  flags: dump ? NLM_F.DUMP : 0,
  body,
});

const generationOf = ([reply]: readonly NetlinkReply[]): number => (reply ? generationIn(reply.body) : 0);

const asLookUps = (table: TableName, set: SetDeclaration, keys: readonly Key[]): NetlinkRequest[] =>
  keys.map(key => requestOf(askElement(table, set, key)));

/** The answer to each look-up. */
const elementsIn = (set: SetDeclaration, answers: readonly NetlinkAnswer[]): readonly (Element | undefined)[] =>
  mustExcept(answers, 'ENOENT').map(
    replies =>
      decodeElements(
        set,
        replies.map(({ body }) => body),
      )[0],
  );

/** A socket to nf_tables. A table that it made as its owner is its own until it closes. */
export class Nft implements Disposable {
  readonly #socket: NetlinkSocket;

  /** Opens a socket in the network namespace of the calling thread. */
  static open(): Nft {
    return new Nft(NetlinkSocket.open('netfilter'));
  }

  constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }

  /** The port by which the kernel names our socket in notifications of changes. */
  get port(): number {
    return this.#socket.port;
  }

  /**
   * Puts the whole transaction into force, or nothing of it. An empty one is not sent.
   * @throws NftError the kernel's refusal; OutcomeUnknownError where it cannot be known
   */
  commit(transaction: Transaction, options?: EncodeOptions): void {
    if (transaction.operations.length === 0) return;
    const refusals = this.#send(transaction, options);
    if (refusals.length > 0) throw new NftError(transaction, refusals);
  }

  #send(transaction: Transaction, options?: EncodeOptions): Refusal[] {
    const batch = encode(transaction, options);
    const operation = `change table ${transaction.family} ${transaction.table}`;
    return this.#socket.batch(operation, batch.bytes).errors.map(error => refusalOf(batch, error));
  }

  #ask(query: Query): readonly NetlinkReply[] {
    return must(this.#socket.exchange([requestOf(query)]))[0] ?? [];
  }

  /** The replies of a dump that are about this table: older kernels send those of all tables. */
  #dump(query: Query, { name }: TableName): Uint8Array[] {
    return this.#ask(query)
      .map(({ body }) => body)
      .filter(body => tableNameIn(body) === name);
  }

  /** Counts the commits in this network namespace, ours and those of other programs. */
  generation(): number {
    return generationOf(this.#ask(askGeneration()));
  }

  /** Undefined where there is no such table. @throws NetlinkError */
  readTable(family: TableFamily, name: string): Table | undefined {
    return this.read({ family, name })?.table;
  }

  /** The table with what the kernel has added to it: handles, counts, flags. @throws NetlinkError */
  read(name: TableName): ReadTable | undefined {
    let read: KernelTable | undefined;
    for (let attempt = 0; attempt < READ_ATTEMPTS; attempt++) {
      const generation = this.generation();
      try {
        read = this.#readOnce(name);
      } catch (error) {
        // A set may go between its listing and its dump.
        if (isErrno(error, 'ENOENT') && this.generation() !== generation) continue;
        throw error;
      }
      if (this.generation() === generation) return read && { ...read, generation };
    }
    return read && { ...read, generation: undefined };
  }

  #readOnce(name: TableName): KernelTable | undefined {
    const [[table] = []] = mustExcept(this.#socket.exchange([requestOf(askTable(name))]), 'ENOENT');
    if (!table) return undefined;
    const sets = this.#dump(askSets(name), name);
    const names = sets.map(body => setNameIn(body) ?? '');
    return decodeTable({
      family: name.family,
      table: table.body,
      chains: this.#dump(askChains(name), name),
      rules: this.#dump(askRules(name), name),
      sets,
      elements: new Map(names.map(set => [set, this.#dump(askElements(name, set), name)])),
      counters: this.#dump(askCounters(name), name),
    });
  }

  /** The table's own state, without what is in it; undefined where there is no such table. @throws NetlinkError */
  tableState(name: TableName): TableState | undefined {
    const [[table] = []] = mustExcept(this.#socket.exchange([requestOf(askTable(name))]), 'ENOENT');
    return table && tableStateIn(table.body);
  }

  /** All elements of a set. @throws NetlinkError ENOENT where there is no such set */
  readElements(table: TableName, set: SetDeclaration): readonly Element[] {
    return decodeElements(set, this.#dump(askElements(table, set.name), table));
  }

  /**
   * For each key the one element that has it or, in a set of intervals, holds it; undefined where there is none, or no such
   * set. The kernel looks them up: the cost does not grow with the set.
   */
  lookUp(table: TableName, set: SetDeclaration, keys: readonly Key[]): readonly (Element | undefined)[] {
    return elementsIn(set, this.#socket.exchange(asLookUps(table, set, keys)));
  }

  /** As `lookUp`, with the kernel's generation, which it is asked for first. */
  lookUpAfter(table: TableName, set: SetDeclaration, keys: readonly Key[]) {
    const requests = [requestOf(askGeneration()), ...asLookUps(table, set, keys)];
    const [first, ...found] = this.#socket.exchange(requests);
    return { generation: generationOf(must([first!])[0]!), elements: elementsIn(set, found) };
  }

  /**
   * The handle of a table and its rules' checksums, in these chains or in all; undefined where there is no such table. For
   * some chains the cost does not grow with the table.
   * @throws NetlinkError
   */
  readChecksums(name: TableName, chains?: readonly string[]): TableChecksums | undefined {
    const queries = chains ? chains.map(chain => askRulesOf(name, chain)) : [askRules(name)];
    const answers = this.#socket.exchange([askTable(name), ...queries].map(requestOf));
    const [[table] = [], ...rules] = mustExcept(answers, 'ENOENT');
    if (!table) return undefined;
    const { handle, isDormant } = tableStateIn(table.body);
    const found = ruleChecksums(rules.flatMap(messages => messages.map(({ body }) => body)));
    const all = chains ? new Map(chains.map(chain => [chain, found.get(chain) ?? []])) : found;
    return { table: handle, isDormant, chains: all };
  }

  /**
   * How many elements each of these sets has, or each of the table; nothing of one that is not there. The kernel has counted
   * them, so the cost does not grow with the sets; one before 6.16 has not, and they are listed.
   * @throws NetlinkError
   */
  readSetSizes(table: TableName, names?: readonly string[]): ReadonlyMap<string, number> {
    const bodies = names
      ? mustExcept(this.#socket.exchange(names.map(name => requestOf(askSet(table, name)))), 'ENOENT')
          .flat()
          .map(({ body }) => body)
      : this.#dump(askSets(table), table);
    return new Map(
      bodies.map((body): [string, number] => {
        const name = setNameIn(body) ?? '';
        return [name, setSizeIn(body) ?? this.#count(table, name)];
      }),
    );
  }

  #count(table: TableName, set: string): number {
    return this.#dump(askElements(table, set), table).reduce((sum, body) => sum + countElements(body), 0);
  }

  /** Packets and bytes that each named counter of the table has counted. */
  readCounters(table: TableName): ReadonlyMap<string, Counted> {
    return decodeCounters(this.#dump(askCounters(table), table));
  }

  /** Packets and bytes that each rule of the table with an anonymous counter has counted. */
  readRuleCounts(table: TableName): readonly RuleCount[] {
    return decodeRuleCounts(this.#dump(askRules(table), table));
  }

  /** Base chains of every table, also of those that are not ours. */
  baseChains(): readonly BaseChain[] {
    return decodeBaseChains(this.#ask(askAllChains()).map(({ body }) => body));
  }

  /** Every chain of every table. */
  chainNames(): readonly ChainName[] {
    return decodeChainNames(this.#ask(askAllChains()).map(({ body }) => body));
  }

  /** One chain's rules, as far as they can be told without the sets of their table. */
  readRules(table: TableName, chain: string): readonly Rule[] {
    return decodeRulesOf(table.family, chain, this.#dump(askRulesOf(table, chain), table));
  }

  /**
   * Finds which operations of a transaction the kernel would refuse, on a table that is not there. The transaction is sent with
   * an operation at its end that fails, so that the kernel never commits it.
   */
  wouldRefuse({ family, table, operations }: Transaction): readonly Refusal[] {
    const impossible: Operation = { verb: 'delete', object: 'chain', chain: { name: 'no-such-chain' } };
    const refusals = this.#send({ family, table, operations: [...operations, impossible] });
    return refusals.filter(({ operation }) => operation !== impossible);
  }

  /** @see probeTableFlags of nft-owner.ts */
  probeTableFlags(): TableFlags {
    return probeTableFlags(this);
  }
}
