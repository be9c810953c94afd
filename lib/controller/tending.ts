import { messageOf } from '../cni/error.ts';
import { type NodeSettings, readNodeSettings } from '../cni/own-keys.ts';
import type { LiveTable } from '../enforce/live-table.ts';
import type { Owner } from '../gate/node-state.ts';
import { systemClock } from '../kube/clock.ts';
import type { Adopted } from '../pod/adopt.ts';
import { Collector, type Undone } from '../pod/collector.ts';
import type { Context } from '../pod/context.ts';
import { nftLines } from '../pod/nft-lines.ts';
import type { Log } from '../rpc/log.ts';
import type { LinkWatch } from './link-watch.ts';

/** Milliseconds between two whole looks at a table that the agent owns, which no other program can change. */
const WHOLE_LOOK_INTERVAL = 600_000;

/** The things that were mended. */
export interface NodeMended {
  /** Running pods whose records were lost, and are written again. */
  readonly adopted: readonly Adopted[];
  readonly undone: readonly Undone[];
  readonly failures: readonly string[];
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
  readonly contextFor: (settings: NodeSettings, log: (line: string) => void) => Context;
}

export class Tending {
  readonly #options: TendingOptions;
  #mendedAt = Number.NEGATIVE_INFINITY;

  constructor(options: TendingOptions) {
    this.#options = options;
  }

  /** Mends and collects; the table is looked at whole where it is due. */
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
    if (mended > 0) log('warn', "Another program changed the tags of pods' links: mended", { links: mended });
    return { nft: await nftLines(operations), links: mended, ...(await this.#collect()) };
  }

  /** Collects what is dead in all networks. */
  async #collect(): Promise<Pick<NodeMended, 'adopted' | 'undone' | 'failures'>> {
    const { owner, runDir, log, contextFor } = this.#options;
    const settings = readNodeSettings({ ...owner, runDir });
    const collector = new Collector(
      { settings, path: [] },
      contextFor(settings, line => log('warn', line)),
    );
    const adopted: Adopted[] = [];
    const undone: Undone[] = [];
    const failures: string[] = [];
    for await (const { network, found } of collector.node()) {
      for (const { pod } of found.adopted) log('warn', `Wrote the record of ${pod} again, which was lost`);
      for (const { pod, containerID, why } of found.undone) log('info', `Cleared away ${pod ?? containerID}: ${why}`);
      for (const failure of found.failures)
        log('warn', `Cannot clear away in network ${network}: ${messageOf(failure)}`);
      adopted.push(...found.adopted);
      undone.push(...found.undone);
      failures.push(...found.failures.map(messageOf));
    }
    return { adopted, undone, failures };
  }
}
