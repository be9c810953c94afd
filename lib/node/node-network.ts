/**
 * The agent's work for its node besides judging pods: address ranges for the plugin, routes to the other nodes,
 * forwarding, the word to the API that the network is there, and the conflist that makes runtimes call us. In this order,
 * each only once what it promises is so; what has been reached stays when something fails later.
 */
import { refuseTooSmallMtu } from '../cni/config.ts';
import { messageOf } from '../cni/error.ts';
import { type Family, formatPrefix, networkOf, type Prefix } from '../ip/address.ts';
import type { Exchange } from '../kernel/message.ts';
import type { Client } from '../kube/client.ts';
import type { KubeNode } from '../kube/object.ts';
import { setNodeCondition } from '../kube/single.ts';
import type { Log } from '../rpc/log.ts';
import { forgetNodeRanges, keepNodeRanges } from '../state/node-ranges.ts';
import {
  type ConflistPlace,
  type ConflistSettings,
  conflistText,
  foreignTo,
  keepConflist,
  removeConflist,
} from './conflist.ts';
import { forward } from './forwarding.ts';
import { type CidrClaims, judgeClaims } from './pod-cidrs.ts';
import { keepRoutes } from './routes.ts';

export interface NodeStatus {
  /** Pods can be plugged in, and reach other nodes' where a link is shared. */
  readonly ready: boolean;
  /** Conditions that must be met first. */
  readonly waitsFor: readonly string[];
  /** Faults that keep nothing else back. */
  readonly problems: readonly string[];
}

export interface NodeKeeperOptions {
  /** This node's name in the API. */
  readonly node: string;
  readonly runDir: string;
  /** rtnetlink in the node's network namespace, which this thread is in. */
  readonly host: Exchange;
  readonly client: Client;
  readonly log: Log;
  /** Where pods are, by the admin's word; absent or without one of a family: wherever nodes say. */
  readonly clusterCidrs?: readonly Prefix[];
  /** Absent: none is written. */
  readonly conflist?: ConflistPlace & {
    readonly settings: ConflistSettings;
    /** Whether to take it away when the agent stops. */
    readonly removeOnExit: boolean;
  };
}

const advice = 'delete its pods and its file first, or start the agent with --take-over';

const heeded = ({ addresses, podCidrs, networkUnavailable, created }: KubeNode): string =>
  [...addresses, ...podCidrs.map(formatPrefix), networkUnavailable, created].join();

/**
 * Whether a change of a node is one for the keeper. Most are not: a kubelet writes its node's status every few minutes, and
 * in a cluster of 5,000 nodes, where a look at all routes takes 70 ms, that is many times a second.
 */
export const concernsRoutes = ({
  before,
  after,
}: {
  readonly before: KubeNode | undefined;
  readonly after: KubeNode | undefined;
}): boolean => !before || !after || heeded(before) !== heeded(after);

export class NodeKeeper {
  readonly #options: NodeKeeperOptions;
  #told = new Set<string>();
  /** Prefixes of our routes, as the last update left them. */
  #routes: ReadonlySet<string> = new Set();
  /** Families whose packets the last update without a problem had forwarded. */
  #forwarded: ReadonlySet<Family> = new Set();
  /** Changes of other programs that were put right. */
  readonly mended = { routes: 0, forwarding: 0 };
  #status: NodeStatus = { ready: false, waitsFor: ['the nodes have not been heard yet'], problems: [] };

  constructor(options: NodeKeeperOptions) {
    this.#options = options;
  }

  /** The node's status as of the last update. */
  get status(): NodeStatus {
    return this.#status;
  }

  /**
   * Brings the node to what the API says of the nodes; to be called whenever one changed, and from time to time.
   * @param isServing whether CNI calls are served: the conflist is not written before
   * @throws {KubeError} the node's condition could not be set: all else is done, and it is to be called again
   */
  async update(nodes: Iterable<KubeNode>, isServing: boolean): Promise<NodeStatus> {
    const all = [...nodes];
    const own = all.find(({ name }) => name === this.#options.node);
    const problems: string[] = [];
    const waitsFor = own ? this.#refuse() : [`the API has no node ${this.#options.node}`];
    if (own && waitsFor.length === 0) waitsFor.push(...this.#bring(all, own, problems));
    const isUp = waitsFor.length === 0;
    if (isUp && isServing) waitsFor.push(...this.#announce(problems));
    // Also where another network's file has come before ours since: runtimes plug pods into that network.
    this.#status = { ready: waitsFor.length === 0, waitsFor, problems };
    this.#tell(this.#status);
    if (isUp && own?.networkUnavailable !== 'False') await this.#setAvailable();
    return this.#status;
  }

  /** @returns why nothing at all is done for this node: it is another network's, and half of each would be neither */
  #refuse(): string[] {
    const { conflist } = this.#options;
    if (!conflist) return [];
    try {
      return foreignTo(conflist).map(what => `No conflist is written: ${what}; ${advice}`);
    } catch (error) {
      return [messageOf(error)];
    }
  }

  /** @returns what pods on this node still wait for */
  #bring(all: readonly KubeNode[], own: KubeNode, problems: string[]): string[] {
    const { host, runDir, log, node } = this.#options;
    const claims = judgeClaims(all, this.#options.clusterCidrs);
    const refused = this.#refuseCidrs(own, claims);
    if (refused.length > 0) return [...refused, ...this.#giveOutNone()];
    const families = new Set(own.podCidrs.map(({ family }) => family));
    const waitsFor = this.#refuseMtu(families);
    try {
      waitsFor.push(...this.#forward(families));
      const routed = keepRoutes(all, own, host, { claims, before: this.#routes });
      this.#routes = routed.standing;
      problems.push(...routed.problems);
      if (routed.changed > 0) log('info', 'routes brought up to date', { changes: routed.changed });
      this.mended.routes += routed.lost.length;
      if (routed.lost.length > 0)
        log('warn', 'Another program removed routes of ours: made again', { routes: routed.lost.join() });
      if (!routed.isOwnDone) waitsFor.push('the route of its own pod CIDR');
      if (keepNodeRanges(runDir, { node, podCidrs: own.podCidrs }))
        log('info', 'address ranges of this node', { podCidrs: own.podCidrs.map(formatPrefix).join() });
    } catch (error) {
      waitsFor.push(messageOf(error));
    }
    return waitsFor;
  }

  /** @returns why the node has no pod CIDR that pods can have addresses of */
  #refuseCidrs(own: KubeNode, claims: CidrClaims): string[] {
    const { node } = this.#options;
    if (own.podCidrs.length === 0)
      return [
        `node ${node} has no pod CIDR: kube-controller-manager gives one with --allocate-node-cidrs and --cluster-cidr`,
      ];
    return own.podCidrs.flatMap(cidr => {
      const why = claims.refusal(own, cidr);
      const text = formatPrefix(networkOf(cidr));
      return why === undefined ? [] : [`pod CIDR ${text} of node ${node} is no range for pods: ${why}`];
    });
  }

  /** What the node had before may be another node's by now. @returns why addresses of it are given out all the same */
  #giveOutNone(): string[] {
    const { runDir, log } = this.#options;
    try {
      const podCidrs = forgetNodeRanges(runDir)?.podCidrs.map(formatPrefix).join();
      if (podCidrs !== undefined) log('warn', 'Pods get no more addresses of what was this node’s range', { podCidrs });
      return [];
    } catch (error) {
      return [messageOf(error)];
    }
  }

  /** @returns why each ADD by our conflist would be refused: the node must not look ready then */
  #refuseMtu(families: ReadonlySet<Family>): string[] {
    try {
      refuseTooSmallMtu(this.#options.conflist?.settings.mtu || undefined, families);
      return [];
    } catch (error) {
      return [messageOf(error)];
    }
  }

  /** @returns why packets of a family are not forwarded */
  #forward(families: ReadonlySet<Family>): readonly string[] {
    const { host, log } = this.#options;
    const { problems, switchedOn } = forward(families, host);
    for (const family of switchedOn.filter(each => this.#forwarded.has(each))) {
      this.mended.forwarding += 1;
      log('warn', `Another program switched IPv${family} forwarding off: on again`);
    }
    if (problems.length === 0) this.#forwarded = families;
    return problems;
  }

  /** @returns what keeps the conflist away */
  #announce(problems: string[]): string[] {
    const { conflist, log } = this.#options;
    if (!conflist) return [];
    try {
      const { isThere, isWritten, moved, inTheWay } = keepConflist(conflist, conflistText(conflist.settings));
      if (isWritten) log('info', 'wrote the conflist', { confDir: conflist.confDir });
      for (const file of moved) log('warn', 'Moved another network out of the way', { file });
      if (inTheWay.length === 0) return [];
      if (conflist.takeOver)
        problems.push(
          ...inTheWay.map(what => `${what}: its pods stay as they are, with no gate, until they are deleted`),
        );
      return conflist.takeOver
        ? []
        : inTheWay.map(
            what => `${isThere ? 'The conflist is there, but' : 'No conflist is written:'} ${what}; ${advice}`,
          );
    } catch (error) {
      return [messageOf(error)];
    }
  }

  async #setAvailable(): Promise<void> {
    const { client, node, log } = this.#options;
    const condition = {
      type: 'NetworkUnavailable',
      status: 'False',
      reason: 'TollgateIsUp',
      message: 'tollgate gives pods their addresses and routes',
    } as const;
    await setNodeCondition(client, node, { condition, at: new Date() });
    log('info', 'told the API that the network is available', { node });
  }

  /** Logs each condition and problem once, for as long as it lasts. */
  #tell({ waitsFor, problems }: NodeStatus): void {
    const now = new Set([...waitsFor, ...problems]);
    for (const line of now) if (!this.#told.has(line)) this.#options.log('warn', line);
    this.#told = now;
  }

  /** Ends the node's upkeep. With `removeOnExit` the conflist is removed: the agent cannot tell a restart from its end. */
  stop(): void {
    const { conflist, log } = this.#options;
    if (!conflist?.removeOnExit) return;
    removeConflist(conflist.confDir);
    log('info', 'removed the conflist', { confDir: conflist.confDir });
  }
}
