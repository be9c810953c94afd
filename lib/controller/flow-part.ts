/** The part of a warm process that records flows. A process whose settings do not ask for flows pays nothing for it. */
import { messageOf } from '../cni/error.ts';
import type { Conntrack } from '../kernel/conntrack.ts';
import type { Nft } from '../kernel/nft.ts';
import type { Log } from '../rpc/log.ts';
import { FlowLog, type FlowLogOptions } from './flow-log.ts';
import { flowMetrics } from './flow-metrics.ts';
import { FlowRecorder } from './flow-recorder.ts';
import { flowRoutes } from './flow-routes.ts';
import type { FlowSource } from './flow-source.ts';
import type { FlowUi, UiSettings } from './flow-ui.ts';
import { type QueryRoutes, reading } from './http-server.ts';
import type { Metric } from './prometheus.ts';

export interface FlowSettings {
  readonly nflogGroup: number;
  /** Whether conntrack shall count packets and bytes for it. */
  readonly accounting: boolean;
  /** Absent: no file is written. */
  readonly file?: Pick<FlowLogOptions, 'path' | 'filter'>;
  /** Absent: no page is shown. */
  readonly ui?: UiSettings;
}

export interface FlowPlace {
  readonly source: FlowSource;
  readonly nft: Nft;
  readonly conntrack: Conntrack;
  readonly log: Log;
}

export class FlowPart implements Disposable {
  readonly #settings: FlowSettings | undefined;
  #recorder: FlowRecorder | undefined;
  #heard = 0;
  /** Why flows are not recorded, and never will be. */
  #trouble: string | undefined;
  #ui: FlowUi | undefined;
  /** Why the page is not shown. */
  #unshown = 'no page is shown: start the agent with --ui 127.0.0.1:9468';
  #log: FlowLog | undefined;
  #isOver = false;

  /** @param settings undefined: flows are not recorded */
  constructor(settings: FlowSettings | undefined) {
    this.#settings = settings;
  }

  /**
   * Records from now on. To be called once pods and policies are known: what cannot be known yet is not to be told as allowed.
   * Where the kernel tells nothing of connections to us, that is logged, and nothing is recorded.
   */
  start(place: (heard: () => number) => FlowPlace): void {
    if (!this.#settings || this.#recorder) return;
    const here = place(() => this.#heard);
    try {
      this.#recorder = new FlowRecorder({ ...here, ...this.#settings });
    } catch (error) {
      // Pods must be plugged in all the same.
      this.#trouble = `Cannot record flows: ${messageOf(error)}`;
      here.log('error', this.#trouble);
      return;
    }
    const { file } = this.#settings;
    if (file) this.#log = new FlowLog(this.#recorder.journal, { ...file, log: here.log });
  }

  /**
   * Shows the page, where one is asked for. To be called before flows are recorded: until then the page says that they will be.
   * An address that is taken keeps no pod from being plugged in.
   */
  async show(log: Log): Promise<void> {
    const ui = this.#settings?.ui;
    if (!ui) return;
    try {
      const { serveUi } = await import('./flow-ui.ts');
      const served = await serveUi(ui, this.#routes);
      if (this.#isOver) served[Symbol.dispose]();
      else this.#ui = served;
    } catch (error) {
      this.#unshown = `Cannot show flows on ${ui.host} port ${ui.port}: ${messageOf(error)}`;
      log('warn', this.#unshown);
    }
  }

  /** The API has told of a pod, a policy or another object: flows from now on are judged by it. */
  heard(): void {
    this.#heard++;
  }

  get #routes(): QueryRoutes {
    return flowRoutes(
      () => this.#recorder,
      () => this.#trouble,
    );
  }

  /** Routes that only root may ask for. */
  get routes(): QueryRoutes {
    if (!this.#settings) return {};
    return {
      ...this.#routes,
      'GET /flows/ui': reading([], () =>
        this.#ui
          ? { type: 'text/plain', text: `${this.#ui.url}\n` }
          : { status: 404, type: 'text/plain', text: `${this.#unshown}\n` },
      ),
    };
  }

  get metrics(): readonly Metric[] {
    return this.#recorder ? flowMetrics(this.#recorder) : [];
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    this.#ui?.[Symbol.dispose]();
    this.#log?.[Symbol.dispose]();
    this.#recorder?.[Symbol.dispose]();
  }
}
