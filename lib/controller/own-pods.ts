/**
 * The pods of this node. Which there are, and which addresses they have, the kernel and the attachments' records say, since
 * kubelet tells the API late, and the API forgets pods that still run; what their labels and ports are, the API says.
 */
import { type IsCarried, identityOf, type LocalPod, type NodeState, podKey, withPod } from '../gate/node-state.ts';
import type { ObjectChange } from '../kube/fold.ts';
import type { KubePod } from '../kube/object.ts';
import type { LiveRules } from '../policy/compile/live.ts';
import { identityKey } from '../tag/identity.ts';

/** Whether the API's pod is the one that was plugged in, and not another of its name. */
export const isSamePod = (pod: Pick<LocalPod, 'uid'>, { uid, staticUid }: KubePod): boolean =>
  pod.uid === undefined || pod.uid === uid || pod.uid === staticUid;

/** The pod with what the API says of it. */
export const asDeclared = <T extends Omit<LocalPod, 'tag'>>(pod: T, { labels, namedPorts }: KubePod): T => ({
  ...pod,
  labels: Object.fromEntries(labels),
  namedPorts,
});

const nameOf = ({ namespace, name }: Pick<LocalPod, 'namespace' | 'name'>): string => `${namespace}/${name}`;

export class OwnPods {
  readonly #node: string;
  readonly #rules: LiveRules;
  /** Pods of this node as the API has them, by name, until they are in force. */
  readonly #news = new Map<string, KubePod>();

  constructor(node: string, rules: LiveRules) {
    this.#node = node;
    this.#rules = rules;
  }

  /** A pod on the node's own network is the node. */
  #isOwn({ nodeName, hostNetwork }: KubePod): boolean {
    return nodeName === this.#node && !hostNetwork;
  }

  /** Takes in what the API says of any pod. One that is gone there stays what it was for as long as it is plugged in. */
  readonly hear = ({ before, after }: ObjectChange<KubePod>): void => {
    if (before && !this.#isOwn(before) && (!after || this.#isOwn(after))) this.#rules.deletePod(before);
    if (after && this.#isOwn(after)) this.#news.set(nameOf(after), after);
    else if (after) this.#rules.setPod(after);
  };

  /** Namespaces of pods here of which the API has said something that is not in force. */
  get unheeded(): readonly string[] {
    return [...new Set([...this.#news.values()].map(({ namespace }) => namespace))];
  }

  /** News from the API about the namespace's pods on this node that the state does not have yet. */
  newsOf(namespace: string | undefined): readonly KubePod[] {
    return [...this.#news.values()].filter(pod => pod.namespace === namespace);
  }

  /** Marks what `newsOf` gave as in force; until then it is given again. */
  heeded(news: readonly KubePod[]): void {
    for (const pod of news) if (this.#news.get(nameOf(pod)) === pod) this.#news.delete(nameOf(pod));
  }
}

/** The node with what the API says of its pods. */
export function heed(state: NodeState, news: readonly KubePod[], isCarried: IsCarried): NodeState {
  if (news.length === 0) return state;
  const byName = new Map(news.map(pod => [nameOf(pod), pod]));
  return Object.values(state.pods).reduce((current, pod) => {
    const declared = byName.get(nameOf(pod));
    if (!declared || !isSamePod(pod, declared)) return current;
    const now = asDeclared(pod, declared);
    const isSame = identityKey(identityOf(now)) === identityKey(identityOf(pod));
    return isSame || !current.pods[podKey(pod)] ? current : withPod(current, now, isCarried).state;
  }, state);
}
