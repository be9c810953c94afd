/**
 * Collects what is dead, by the code that DEL goes through. Scopes: one attachment, a network (the verb GC), and the whole
 * node (`tollgate gc`, the agent, an ADD that wants what the dead hold). It goes on after an error, and gives all errors.
 */
import type { Config } from '../cni/config.ts';
import { messageOf } from '../cni/error.ts';
import type { NodeSettings } from '../cni/own-keys.ts';
import type { AttachmentName } from '../cni/request.ts';
import { type Attachment, tryLockAttachment } from '../state/attachment.ts';
import { collectNameless, collectOrphans } from '../state/leftovers.ts';
import { type Listed, listAttachments, networksIn } from '../state/listed.ts';
import type { Facts } from '../state/record.ts';
import { openStore, type Store } from '../state/store.ts';
import type { AttachmentKey } from '../tag/link-name.ts';
import { type Adopted, adopt } from './adopt.ts';
import type { Context } from './context.ts';
import { deathOf } from './death.ts';
import { readFacts } from './facts.ts';
import { unplug } from './unplug.ts';

/** An attachment that was undone. */
export interface Undone {
  readonly network: string;
  readonly containerID: string;
  readonly ifname: string;
  /** `namespace/name`, as far as its record knew. */
  readonly pod?: string;
  readonly addresses: readonly string[];
  readonly why: string;
}

export interface Collected {
  /** Running pods whose records were lost, and are written again. */
  readonly adopted: readonly Adopted[];
  readonly undone: readonly Undone[];
  /** Addresses that no attachment held. */
  readonly released: readonly string[];
  /** Records that did not say which attachment they are of. */
  readonly nameless: readonly string[];
  readonly failures: readonly unknown[];
}

/** A network, and the attachments that its runtime vouches for. */
export interface NetworkScope {
  readonly network: string;
  /** Attachments that the runtime vouches for; undefined: no runtime said, so only what is provably dead may go. */
  readonly keep?: readonly AttachmentName[] | undefined;
  readonly config?: Config;
}

export interface CollectorOptions {
  readonly settings: NodeSettings;
  /** CNI_PATH, for delegated IPAM plugins. */
  readonly path: readonly string[];
}

/** @param why it is undone */
export function undoneOf(owner: AttachmentKey, facts: Facts, why: string): Undone {
  const { pod } = readFacts(facts);
  const { addresses = [] } = facts;
  return { ...owner, ...(pod ? { pod: `${pod.namespace}/${pod.name}` } : {}), addresses, why };
}

/** Runs each piece of work, whatever becomes of the others. */
class Attempts {
  readonly failures: unknown[] = [];

  async run<T>(work: () => readonly T[] | Promise<readonly T[]>): Promise<readonly T[]> {
    try {
      return await work();
    } catch (error) {
      this.failures.push(error);
      return [];
    }
  }
}

export class Collector {
  readonly #options: CollectorOptions;
  readonly #context: Context;
  readonly #store: Store;

  constructor(options: CollectorOptions, context: Context) {
    this.#options = options;
    this.#context = context;
    this.#store = openStore(options.settings.stateDir);
  }

  /** Networks with anything on this node. @throws StateError */
  #networks(): readonly string[] {
    return networksIn(
      this.#store,
      this.#context.hook.pods().map(({ network }) => network),
    );
  }

  /** @throws CniError, StateError, NetlinkError what could not be undone */
  async #undo({ network, config }: NetworkScope, name: AttachmentName, attachment?: Attachment): Promise<void> {
    const { containerID, ifname } = name;
    const leaving = { containerID, ifname, network, ...this.#options, ...(config ? { config } : {}) };
    await unplug(leaving, attachment, this.#context);
  }

  /** Scope attachment: undoes it if it is dead, or if the runtime no longer vouches for it. */
  async attachment(listed: Listed, scope: NetworkScope): Promise<Undone | undefined> {
    const { owner } = listed;
    const { network, keep } = scope;
    if (!owner || keep?.some(kept => kept.containerID === owner.containerID && kept.ifname === owner.ifname))
      return undefined;
    if (listed.isLost && keep !== undefined) {
      await this.#undo(scope, owner);
      return { ...owner, addresses: [], why: 'its record is gone, and its runtime no longer knows it' };
    }
    using attachment = tryLockAttachment(this.#store, network, listed.path);
    if (!attachment) return undefined;
    const death = deathOf(attachment, this.#context);
    if (keep === undefined && death === undefined) return undefined;
    const undone = undoneOf(owner, attachment.facts, death ?? 'its runtime no longer knows it');
    await this.#undo(scope, owner, attachment);
    return undone;
  }

  /** Scope network. @throws StateError where its records cannot be listed */
  async network(scope: NetworkScope): Promise<Collected> {
    const { network } = scope;
    const attempts = new Attempts();
    // Adoption comes first: a running pod without a record passes for dead.
    const { adopted, failures: unadopted } = await adopt(this.#store, network, this.#context);
    const undone: Undone[] = [];
    for (const listed of listAttachments(this.#store, network))
      undone.push(
        ...(await attempts.run(async () => [await this.attachment(listed, scope)])).filter(each => each !== undefined),
      );
    const nameless = await attempts.run(() => collectNameless(this.#store, network));
    const released = await attempts.run(() => collectOrphans(this.#store, network));
    await attempts.run(() => this.#context.reaper.drained().then(() => []));
    return { adopted, undone, released, nameless, failures: [...unadopted, ...attempts.failures] };
  }

  /** Scope node: what is provably dead, network by network. @throws StateError where networks cannot be listed */
  async *node(): AsyncGenerator<{ readonly network: string; readonly found: Collected }> {
    for (const network of this.#networks()) yield { network, found: await this.network({ network }) };
  }

  /**
   * Undoes dead attachments of all networks, for an ADD that wants what they hold: hostPorts are the node's.
   * @returns how many were undone; those that cannot be undone now are logged, and left for GC
   */
  async dead(): Promise<number> {
    let undone = 0;
    for (const network of this.#networks())
      for (const listed of listAttachments(this.#store, network)) {
        if (listed.isLost || deathOf(listed, this.#context) === undefined) continue;
        try {
          if (await this.attachment(listed, { network })) undone++;
        } catch (error) {
          this.#context.log(`Cannot undo what is left of ${listed.owner?.containerID}: ${messageOf(error)}`);
        }
      }
    return undone;
  }
}
