/**
 * Keeps the rules' checksums and the set sizes of a table that other programs may change, too. Each commit of ours updates
 * them, so that before a pod is opened the enforcer asks the kernel only for the rules that judge that pod (`in-force.ts`).
 */

import {
  atMoment,
  changedBy,
  isOfElements,
  type Judged,
  type Judging,
  resizedBy,
  type Sizes,
} from '../gate/judging.ts';
import { type GateSettings, isJudged } from '../gate/settings.ts';
import type { TableStep } from '../gate/steps.ts';
import { nextGeneration } from '../kernel/nft.ts';
import type { Operation } from '../nft/transaction.ts';
import type { Ruleset } from '../policy/compile/ruleset.ts';
import { isDisturbed } from './compared.ts';
import { areChainsKnown, isInForce, judgingAfter, momentAfter, readJudging } from './in-force.ts';
import type { TableConnection } from './table-connection.ts';

/** Checksums of rules and sizes of sets, read where they are asked for. */
interface LateJudging {
  /** The marker that they are written under; undefined where they are not known. */
  readonly under: number | undefined;
  readonly judging: () => Judging | undefined;
}

/** Knowledge of a table that one process writes down, and another goes on from. */
export interface Knowledge extends LateJudging {
  readonly resized?: Sizes | undefined;
  readonly moment?: readonly number[] | undefined;
  readonly generation: number | undefined;
}

/** With the kernel's generation by now, where it was asked. */
export interface Recalled extends Knowledge {
  readonly seen: number | undefined;
}

const judgingOf = (judging: Judging | undefined): LateJudging => ({ under: judging?.marker, judging: () => judging });

/** By checksums and sizes, as of now but for sets that have grown since. */
function knownBy({ judging, moment }: Knowledge): Judging | undefined {
  const known = judging();
  return known && atMoment(known, moment);
}

const isElement = ({ object }: Operation): boolean => object === 'element';

/** A commit is tried this often on condition that no other program has committed since the kernel was looked at. */
const ATTEMPTS = 8;

export class KnownTable {
  readonly #nft: () => TableConnection;
  /** Where they are not known, only a look at the whole table would tell. */
  #judging = judgingOf(undefined);
  /** By how much sets have grown since that was read. */
  #resized: Sizes = {};
  /** Checksums of the rules of `one-moment`, where they are others since that was read. */
  #moment: readonly number[] | undefined;
  /** At which the whole table was what it should be; undefined where another program has committed something since. */
  #generation: number | undefined;
  /** The kernel's generation when it was last asked, or when our last commit was made. */
  #seen: number | undefined;

  constructor(nft: () => TableConnection) {
    this.#nft = nft;
  }

  /** Takes over knowledge that was written down under the marker that the table has. */
  recall({ resized = {}, moment, generation, seen, ...judging }: Recalled): void {
    this.#judging = judging;
    this.#resized = resized;
    this.#moment = moment;
    this.#generation = generation;
    this.#seen = seen;
  }

  get knowledge(): Knowledge {
    return { ...this.#judging, resized: this.#resized, moment: this.#moment, generation: this.#generation };
  }

  /**
   * Asks the kernel for its generation.
   * @returns whether nothing has been committed since the whole table was what it should be
   */
  look(): boolean {
    this.#seen = this.#nft().generation();
    return this.#isUntouched;
  }

  get #isUntouched(): boolean {
    return this.#generation !== undefined && this.#seen === this.#generation;
  }

  /** The whole table is what it should be, at this generation. */
  learn(generation: number | undefined, marker: number, ruleset: Ruleset): void {
    this.#forget();
    if (generation === undefined) return;
    this.#seen = generation;
    this.#judging = judgingOf(readJudging(this.#nft(), generation, marker, ruleset));
    if (this.#judging.under !== undefined) this.#generation = generation;
  }

  #forget(): void {
    this.#judging = judgingOf(undefined);
    this.#resized = {};
    this.#moment = undefined;
    this.#generation = undefined;
  }

  /**
   * Puts it into force. Where other programs' commits leave no moment for it, the table is no longer known.
   * @throws NftError the kernel's refusal
   */
  commit(step: TableStep): void {
    const { knowledge } = this;
    this.#forget();
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++)
      try {
        this.#commitAfter(this.#seen ?? this.#nft().generation(), step, knowledge);
        return;
      } catch (error) {
        if (!isDisturbed(error)) throw error;
        this.#seen = undefined;
      }
    this.#nft().commit(step.transaction);
  }

  /** @throws NftError ERESTART where the kernel's generation is another one than `before` by now */
  #commitAfter(before: number, { transaction, markers, change }: TableStep, knowledge: Knowledge): void {
    const { operations } = transaction;
    const { under, judging, resized, moment, generation: whole } = knowledge;
    const isSized = change === undefined && operations.every(isElement);
    const known = isSized ? undefined : knownBy(knowledge);
    // Else rules that another program put into a chain that this commit changes would pass for the commit's own.
    const isKnown = isSized
      ? under !== undefined
      : known && (whole === before || areChainsKnown(this.#nft(), known, changedBy(operations).chains));
    this.#nft().commit(transaction, { generation: before });
    const after = operations.length > 0 ? nextGeneration(before) : before;
    this.#seen = after;
    if (!isKnown) return;
    const grown = resizedBy(operations, resized);
    const isLasting = change === undefined && operations.every(isOfElements);
    if (known && !isLasting) {
      const step = { operations, change, known, resized: grown };
      this.#judging = judgingOf(judgingAfter(this.#nft(), after, markers.at(-1)!, step));
    } else {
      const now = known ? momentAfter(this.#nft(), after, known) : moment;
      if (known && !now) return;
      [this.#judging, this.#resized, this.#moment] = [{ under, judging }, grown, now];
    }
    if (this.#judging.under !== undefined && whole === before) this.#generation = after;
  }

  /**
   * Whether what judges these pods is known to be in force, asked at a cost that does not grow with the number of pods.
   * @param isSeen the kernel has just been asked for its generation, for `recall`
   */
  isInForce(settings: GateSettings, pods: readonly Judged[], isSeen = false): boolean {
    if (isSeen ? this.#isUntouched : this.look()) return true;
    const known = knownBy(this.knowledge);
    if (!known || (isJudged(settings) && !pods.every(({ tag }) => known.tags.has(tag)))) return false;
    return isInForce(this.#nft(), { known, settings, pods, coming: new Map(), resized: this.#resized });
  }
}
