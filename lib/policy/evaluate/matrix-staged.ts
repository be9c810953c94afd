/** The matrix beside what it would be if staged policies were in force. */
import type { World } from '../model/model.ts';
import { promoted } from '../model/staged.ts';
import type { EvaluateOptions } from './evaluate.ts';
import { type JudgedPair, MatrixJudge, type Traffic } from './matrix-judge.ts';

export interface PairWithStaged {
  readonly pair: JudgedPair;
  /** The same pair and family with the staged policies in force; undefined where there are none. */
  readonly staged?: JudgedPair;
}

/** Pods, pairs and families are the same on both sides, and come in one order. */
export class StagedMatrix {
  readonly judge: MatrixJudge;
  readonly #staged: MatrixJudge | undefined;

  constructor(world: World, traffic: Traffic, options: EvaluateOptions = {}) {
    this.judge = new MatrixJudge(world, traffic, options);
    const after = promoted(world);
    this.#staged = after && new MatrixJudge(after, traffic, options);
  }

  get hasStaged(): boolean {
    return this.#staged !== undefined;
  }

  *[Symbol.iterator](): Generator<PairWithStaged> {
    const others = this.#staged?.[Symbol.iterator]();
    for (const pair of this.judge) {
      const staged = others?.next().value;
      yield staged ? { pair, staged } : { pair };
    }
  }

  /** Pairs that would fare otherwise. */
  *moved(): Generator<Required<PairWithStaged>> {
    if (!this.#staged) return;
    for (const { pair, staged } of this) if (staged && staged.allowed !== pair.allowed) yield { pair, staged };
  }
}
