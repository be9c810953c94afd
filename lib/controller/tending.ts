/** Mends what other programs changed on the node, and collects what calls that died left behind. */
import type { Config } from '../cni/config.ts';
import type { LiveTable } from '../enforce/live-table.ts';
import type { Owner } from '../gate/node-state.ts';
import { systemClock } from '../kube/clock.ts';
import type { Context } from '../pod/context.ts';
import { nftWords } from '../pod/sweep.ts';
import type { Log } from '../rpc/log.ts';
import { clearDeadCalls, type DeadCalls } from './dead-calls.ts';
import type { LinkWatch } from './link-watch.ts';

/** Milliseconds between two whole looks at a table that the agent owns, which no other program can change. */
const WHOLE_LOOK_INTERVAL = 600_000;

/** What was put right. */
export interface NodeMended extends DeadCalls {
  /** Operations on the table, as lines that `nft -f` would take. */
  readonly nft: readonly string[];
  /** Links that got their tags back. */
  readonly links: number;
}

export interface TendingOptions {
  readonly table: LiveTable;
  readonly links: LinkWatch;
  readonly owner: Owner;
  readonly runDir: string;
  readonly log: Log;
  readonly contextFor: (config: Config, log: (line: string) => void) => Context;
}

export class Tending {
  readonly #options: TendingOptions;
  #mendedAt = Number.NEGATIVE_INFINITY;

  constructor(options: TendingOptions) {
    this.#options = options;
  }

  /** One run. */
  async run(): Promise<void> {
    const isDue = !this.#options.table.isOwned || systemClock.now() - this.#mendedAt > WHOLE_LOOK_INTERVAL;
    await this.mend(isDue);
  }

  /** @param withTable whether the table is read and compared whole */
  async mend(withTable = true): Promise<NodeMended> {
    const { table, links, log } = this.#options;
    if (withTable) this.#mendedAt = systemClock.now();
    const operations = withTable ? await table.mend() : [];
    const mended = links.mend();
    if (mended > 0) log('warn', "Somebody changed the tags of pods' links: mended", { links: mended });
    return { nft: await nftWords(operations), links: mended, ...(await clearDeadCalls(this.#options)) };
  }
}
