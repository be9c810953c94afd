/** The part of a warm process that records flows, where somebody asks for it; where nobody does it costs nothing. */
import type { Nft } from '../kernel/nft.ts';
import type { Log } from '../rpc/log.ts';
import { flowMetrics } from './flow-metrics.ts';
import { FlowRecorder } from './flow-recorder.ts';
import { flowRoutes } from './flow-routes.ts';
import type { FlowSource } from './flow-source.ts';
import type { QueryRoutes } from './http-server.ts';
import type { Metric } from './prometheus.ts';

export interface FlowSettings {
  readonly nflogGroup: number;
  /** Whether conntrack shall count packets and bytes for it. */
  readonly accounting: boolean;
}

export interface FlowPlace {
  readonly source: FlowSource;
  readonly nft: Nft;
  readonly log: Log;
}

export class FlowPart implements Disposable {
  readonly #settings: FlowSettings | undefined;
  #recorder: FlowRecorder | undefined;
  #heard = 0;

  /** @param settings undefined: flows are not recorded */
  constructor(settings: FlowSettings | undefined) {
    this.#settings = settings;
  }

  /**
   * Records from now on. To be called once pods and policies are known: what cannot be known yet is not to be told as allowed.
   * @throws SyscallError where the kernel tells nothing of connections to us
   */
  start(place: (heard: () => number) => FlowPlace): void {
    if (!this.#settings || this.#recorder) return;
    this.#recorder = new FlowRecorder({ ...place(() => this.#heard), ...this.#settings });
  }

  /** The API has told of a pod, a policy or another object: flows from now on are judged by it. */
  heard(): void {
    this.#heard++;
  }

  /** For root. */
  get routes(): QueryRoutes {
    return this.#settings ? flowRoutes(() => this.#recorder) : {};
  }

  get metrics(): readonly Metric[] {
    return this.#recorder ? flowMetrics(this.#recorder) : [];
  }

  [Symbol.dispose](): void {
    this.#recorder?.[Symbol.dispose]();
  }
}
