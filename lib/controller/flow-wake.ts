/**
 * When events of connections are read: at the first one after a silence, and then again and again for as long as they come.
 * A wake-up for each event would cost more than the event, and a look ten times a second costs a node that is silent.
 */
import { messageOf } from '../cni/error.ts';
import { NFNLGRP, Subscription } from '../kernel/subscription.ts';
import type { Log } from '../rpc/log.ts';

/** Milliseconds between two readings while events come: what a person takes for at once, and few wake-ups. */
const TICK = 100;
/** Readings without an event, after which the kernel is asked to wake us. */
const SILENT = 10;

export interface WakeOptions {
  /** Reads what has come. @returns whether anything had */
  readonly read: () => boolean;
  readonly log: Log;
}

export class FlowWake implements Disposable {
  readonly #options: WakeOptions;
  /** Hears of connections while nothing is read: its first message is the last one that it is there for. */
  #bell: Subscription | undefined;
  #timer: NodeJS.Timeout | undefined;
  #silent = 0;

  constructor(options: WakeOptions) {
    this.#options = options;
    this.#wake();
  }

  #wake(): void {
    this.#bell?.[Symbol.dispose]();
    this.#bell = undefined;
    this.#silent = 0;
    this.#timer ??= setInterval(() => this.#tick(), TICK).unref();
  }

  #tick(): void {
    this.#silent = this.#read() ? 0 : this.#silent + 1;
    if (this.#silent >= SILENT) this.#sleep();
  }

  #read(): boolean {
    const { log, read } = this.#options;
    try {
      return read();
    } catch (error) {
      log('warn', `Cannot record flows: ${messageOf(error)}`);
      return true;
    }
  }

  /** Sleeps until the kernel tells of a connection. Where it cannot be heard, the next silence tries again. */
  #sleep(): void {
    this.#silent = 0;
    const rung = (): void => {
      this.#wake();
      this.#tick();
    };
    try {
      const groups = [NFNLGRP.CONNTRACK_NEW, NFNLGRP.CONNTRACK_DESTROY];
      this.#bell = new Subscription('netfilter', groups, { mayMiss: true, onMessage: rung, onLost: rung });
    } catch {
      return;
    }
    clearInterval(this.#timer);
    this.#timer = undefined;
    // An event that came before the subscription wakes nothing, so it is read now.
    if (this.#read()) this.#wake();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#bell?.[Symbol.dispose]();
  }
}
