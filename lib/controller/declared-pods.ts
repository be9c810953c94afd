/** Finds the API's object of a pod that is plugged in here: by the watch, else by a request. */
import { CniError, codes, messageOf } from '../cni/error.ts';
import type { LocalPod } from '../gate/node-state.ts';
import type { Client } from '../kube/client.ts';
import type { KubePod } from '../kube/object.ts';
import { getPod } from '../kube/single.ts';
import { isSamePod } from './own-pods.ts';
import type { Watches } from './watches.ts';

/** Milliseconds that an ADD waits for the API when no watch has told of its pod yet. */
const REQUEST_TIMEOUT = 5_000;

export class DeclaredPods {
  readonly #client: Client;
  readonly #watches: Watches;

  constructor(client: Client, watches: Watches) {
    this.#client = client;
    this.#watches = watches;
  }

  /** The pod as the watch has it; undefined where the watch has another pod of that name, or none. */
  readonly known = (pod: Omit<LocalPod, 'tag'>): KubePod | undefined => {
    const known = this.#watches.pods.get(pod);
    return known && isSamePod(pod, known) ? known : undefined;
  };

  /**
   * The pod as the watch or, failing that, the API has it.
   * @throws CniError code 11 where the API has no such pod or does not answer; the signal's reason where it is aborted
   */
  readonly declared = async (pod: Omit<LocalPod, 'tag'>, signal: AbortSignal | undefined): Promise<KubePod> => {
    const known = this.known(pod);
    if (known) return known;
    const name = `${pod.namespace}/${pod.name}`;
    let found: KubePod | undefined;
    try {
      found = await getPod(this.#client, pod, { timeoutMs: REQUEST_TIMEOUT, ...(signal ? { signal } : {}) });
    } catch (error) {
      signal?.throwIfAborted();
      throw new CniError(codes.tryAgainLater, `Cannot judge pod ${name}: nothing is known of it`, messageOf(error));
    }
    if (found && isSamePod(pod, found)) return found;
    const what = found ? `the API has another pod of that name, with uid ${found.uid}` : 'the API has no such pod';
    throw new CniError(codes.tryAgainLater, `Cannot judge pod ${name}: ${what}`, 'the runtime tries again');
  };
}
