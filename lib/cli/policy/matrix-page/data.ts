import type { Family } from '../../../ip/address.ts';
import type { RowDirection } from '../../../policy/evaluate/matrix.ts';

/** The matrix as the page reads it: equal verdicts once, and sentences without the names of the two ends. */
export interface PageData {
  readonly port: number;
  readonly protocol: string;
  readonly pods: readonly {
    readonly name: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly addresses: readonly string[];
  }[];
  /** In their sentences \u0001 stands for the pod that connects, \u0002 for the pod that it connects to. */
  readonly directions: readonly RowDirection[];
  /** Egress and ingress, as indexes into `directions`. */
  readonly verdicts: readonly (readonly [egress: number, ingress: number])[];
  readonly families: readonly {
    readonly family: Family | null;
    /** Row by row, one for each pair of pods: indexes into `verdicts`, or -1 where the pods have no such family. */
    readonly cells: readonly number[];
    /** `cells` if the staged policies were in force; only where there are any. */
    readonly staged?: readonly number[];
  }[];
}
