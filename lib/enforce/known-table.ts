/**
 * Keeps the handles and set sizes of a table that other programs may change, too. Each commit of ours updates them, so that before
 * a pod is opened the enforcer asks the kernel only for the rules that judge that pod (`in-force.ts`).
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
import { areChainsKnown, isInForce, judgingAfter, momentAfter, readJudging } from './in-force.ts';
import type { TableConnection } from './table-connection.ts';

/** Handles and sizes, read where they are asked for. */
interface Handles {
  /** The marker that they are written under; undefined where they are not known. */
  readonly under: number | undefined;
  readonly judging: () => Judging | undefined;
}

/** Knowledge of a table that one process writes down, and another goes on from. */
export interface Knowledge extends Handles {
  readonly resized?: Sizes | undefined;
  readonly moment?: readonly number[] | undefined;
  readonly generation: number | undefined;
}

const handlesOf = (judging: Judging | undefined): Handles => ({ under: judging?.marker, judging: () => judging });

const isElement = ({ object }: Operation): boolean => object === 'element';

export class KnownTable {
  readonly #nft: () => TableConnection;
  /** Where they are not known, only a look at the whole table would tell. */
  #handles = handlesOf(undefined);
  /** By how much sets have grown since that was read. */
  #resized: Sizes = {};
  /** Handles of the rules of `one-moment`, where they are others since that was read. */
  #moment: readonly number[] | undefined;
  /** At which the whole table was what it should be; undefined where another program has committed something since. */
  #generation: number | undefined;

  constructor(nft: () => TableConnection) {
    this.#nft = nft;
  }

  /** Takes over knowledge that was written down under the marker that the table has. */
  recall({ resized = {}, moment, generation, ...handles }: Knowledge): void {
    this.#handles = handles;
    this.#resized = resized;
    this.#moment = moment;
    this.#generation = generation;
  }

  get knowledge(): Knowledge {
    return { ...this.#handles, resized: this.#resized, moment: this.#moment, generation: this.#generation };
  }

  /** By handles and sizes, as of now but for sets that have grown since. */
  get #known(): Judging | undefined {
    const known = this.#handles.judging();
    return known && atMoment(known, this.#moment);
  }

  /** Nothing has been committed in this network namespace since the whole table was what it should be. */
  get isUntouched(): boolean {
    return this.#generation !== undefined && this.#nft().generation() === this.#generation;
  }

  /** The whole table is what it should be, at this generation. */
  learn(generation: number | undefined, marker: number, ruleset: Ruleset): void {
    this.#forget();
    if (generation === undefined) return;
    this.#handles = handlesOf(readJudging(this.#nft(), generation, marker, ruleset));
    if (this.#handles.under !== undefined) this.#generation = generation;
  }

  #forget(): void {
    this.#handles = handlesOf(undefined);
    this.#resized = {};
    this.#moment = undefined;
    this.#generation = undefined;
  }

  /**
   * Puts it into force. Where another program commits at the same moment, the table is no longer known.
   * @throws NftError the kernel's refusal
   */
  commit({ transaction, markers, change }: TableStep): void {
    const { operations } = transaction;
    const { under, judging, resized, moment, generation: whole } = this.knowledge;
    const isSized = change === undefined && operations.every(isElement);
    const known = isSized ? undefined : this.#known;
    this.#forget();
    const before = this.#nft().generation();
    // Else rules that another program put into a chain that this commit changes would pass for the commit's own.
    const isKnown = isSized
      ? under !== undefined
      : known && (whole === before || areChainsKnown(this.#nft(), known, changedBy(operations).chains));
    this.#nft().commit(transaction);
    const after = operations.length > 0 ? nextGeneration(before) : before;
    if (!isKnown || this.#nft().generation() !== after) return;
    const grown = resizedBy(operations, resized);
    const isLasting = change === undefined && operations.every(isOfElements);
    if (known && !isLasting) {
      const step = { operations, change, known, resized: grown };
      this.#handles = handlesOf(judgingAfter(this.#nft(), after, markers.at(-1)!, step));
    } else {
      const now = known ? momentAfter(this.#nft(), after, known) : moment;
      if (known && !now) return;
      [this.#handles, this.#resized, this.#moment] = [{ under, judging }, grown, now];
    }
    if (this.#handles.under !== undefined && whole === before) this.#generation = after;
  }

  /** Whether what judges these pods is known to be in force, asked at a cost that does not grow with the number of pods. */
  isInForce(settings: GateSettings, pods: readonly Judged[]): boolean {
    if (this.isUntouched) return true;
    const known = this.#known;
    if (!known || (isJudged(settings) && !pods.every(({ tag }) => known.tags[tag]))) return false;
    return isInForce(this.#nft(), { known, settings, pods, coming: new Map(), resized: this.#resized });
  }
}
