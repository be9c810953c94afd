import type { Environment } from '../cni/request.ts';
import type { Hook } from '../enforce/hook.ts';
import type { Conntrack } from '../kernel/conntrack.ts';
import type { Exchange } from '../kernel/message.ts';
import type { NetnsIdentity } from '../kernel/netns.ts';
import type { Nft } from '../kernel/nft.ts';
import type { Dispatch } from './dispatch.ts';
import type { LinkReaper } from './link-reaper.ts';

/** Sockets, hook and log of a call; the process of a single call and the worker each bring their own. */
export interface Context {
  /** The call's environment, not this process's. */
  readonly env: Environment;
  /** The network namespace that the node's ends are in. */
  readonly here: NetnsIdentity;
  /** rtnetlink in that namespace. */
  readonly host: Exchange;
  readonly dispatch: Dispatch;
  /** nf_tables in that namespace, opened at the first use. To close it waits for what was deleted to be destroyed. */
  readonly nft: () => Nft;
  /** Connections that are tracked in that namespace. */
  readonly conntrack: Conntrack;
  /**
   * Closes the netfilter sockets of a process that ends with its call, once the table needs no further change. The kernel
   * destroys what was deleted before close(2) returns, so it is called while something else is waited for.
   */
  readonly closeNft?: () => void;
  readonly hook: Hook;
  /** Links that a pod leaves behind. */
  readonly reaper: LinkReaper;
  /** A line for stderr, where a runtime copies it to its log. */
  readonly log: (line: string) => void;
  /** The process whose paths those of the call are; this one where absent. */
  readonly caller?: number;
  /** Aborted when the caller hangs up: a call that waits gives up. */
  readonly signal?: AbortSignal;
}

/** Milliseconds that a call waits for another one of the same attachment. */
export const attachmentTimeoutMs = { ADD: 60_000, DEL: 90_000, CHECK: 30_000, GC: 5_000 } as const;
