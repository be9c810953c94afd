/**
 * Keeps the handles and set sizes of a table that other programs may change, too. Each commit of ours updates them, so that before
 * a pod is opened the enforcer asks the kernel only for the rules that judge that pod (`in-force.ts`).
 */

import { type GateSettings, isJudged } from '../gate/chains.ts';
import { changedBy, type Judged, type Judging, resizedBy, type Sizes } from '../gate/judging.ts';
import type { TableStep } from '../gate/steps.ts';
import { nextGeneration } from '../kernel/nft.ts';
import type { Operation } from '../nft/transaction.ts';
import type { Ruleset } from '../policy/compile/ruleset.ts';
import { areChainsKnown, isInForce, judgingAfter, readJudging } from './in-force.ts';
import type { TableConnection } from './table-connection.ts';

/** Knowledge of a table that one process writes down, and another goes on from. */
export interface Knowledge {
  readonly judging: Judging | undefined;
  readonly resized?: Sizes | undefined;
  readonly generation: number | undefined;
}

const isElement = ({ object }: Operation): boolean => object === 'element';

export class KnownTable {
  readonly #nft: () => TableConnection;
  /** Undefined where only a look at the whole table would tell. */
  #judging: Judging | undefined;
  /** By how much sets have grown since that was read. */
  #resized: Sizes = {};
  /** At which the whole table was what it should be; undefined where another program has committed something since. */
  #generation: number | undefined;

  constructor(nft: () => TableConnection) {
    this.#nft = nft;
  }

  /** Takes over knowledge that was written down under the marker that the table has. */
  recall({ judging, resized = {}, generation }: Knowledge): void {
    this.#judging = judging;
    this.#resized = resized;
    this.#generation = generation;
  }

  get knowledge(): Knowledge {
    return { judging: this.#judging, resized: this.#resized, generation: this.#generation };
  }

  /** Nothing has been committed in this network namespace since the whole table was what it should be. */
  get isUntouched(): boolean {
    return this.#generation !== undefined && this.#nft().generation() === this.#generation;
  }

  /** The whole table is what it should be, at this generation. */
  learn(generation: number | undefined, marker: number, ruleset: Ruleset): void {
    this.#forget();
    if (generation === undefined) return;
    this.#judging = readJudging(this.#nft(), generation, marker, ruleset);
    if (this.#judging) this.#generation = generation;
  }

  #forget(): void {
    this.#judging = undefined;
    this.#resized = {};
    this.#generation = undefined;
  }

  /**
   * Puts it into force. Where another program commits at the same moment, the table is no longer known.
   * @throws NftError the kernel's refusal
   */
  commit({ transaction, markers, change }: TableStep): void {
    const marker = markers.at(-1)!;
    const { operations } = transaction;
    const [judging, resized, whole] = [this.#judging, this.#resized, this.#generation];
    this.#forget();
    const before = this.#nft().generation();
    // Else rules that another program put into a chain that this commit changes would pass for the commit's own.
    const isKnown = judging && areChainsKnown(this.#nft(), judging, changedBy(operations).chains);
    this.#nft().commit(transaction);
    const after = operations.length > 0 ? nextGeneration(before) : before;
    if (!isKnown || this.#nft().generation() !== after) return;
    this.#keep(after, marker, { operations, change, known: judging, resized: resizedBy(operations, resized) });
    if (this.#judging && whole === before) this.#generation = after;
  }

  #keep(generation: number, marker: number, step: Parameters<typeof judgingAfter>[3]): void {
    if (step.change === undefined && step.operations.every(isElement)) {
      this.#judging = step.known;
      this.#resized = step.resized;
    } else this.#judging = judgingAfter(this.#nft(), generation, marker, step);
  }

  /** Whether what judges these pods is known to be in force, asked at a cost that does not grow with the number of pods. */
  isInForce(settings: GateSettings, pods: readonly Judged[]): boolean {
    const known = this.#judging;
    if (!known || (isJudged(settings) && !pods.every(({ tag }) => known.tags[tag]))) return false;
    if (this.isUntouched) return true;
    return isInForce(this.#nft(), { known, settings, pods, coming: new Map(), resized: this.#resized });
  }
}
