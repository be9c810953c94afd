/** Which of the flows that are followed are news: a flow comes when it opened, and when it closed, with its counts. */
import type { Entry, FlowState } from '../../flows/model.ts';

/** Flows whose states are remembered. */
const REMEMBERED = 100_000;

export class Follower {
  readonly #isForPeople: boolean;
  /** States that were told, by flow: one that was open in the list may come as open after it, too. */
  readonly #told = new Map<number, FlowState>();

  /** @param isForPeople who are shown the beginning of a flow and not its end */
  constructor(isForPeople: boolean) {
    this.#isForPeople = isForPeople;
  }

  isNews(entry: Entry): boolean {
    if (entry.kind !== 'flow') return true;
    const { id, state } = entry;
    const before = this.#told.get(id);
    if (before !== undefined && (this.#isForPeople || before === state)) return false;
    this.#told.set(id, state);
    const [oldest] = this.#told.keys();
    if (this.#told.size > REMEMBERED) this.#told.delete(oldest!);
    return true;
  }
}
