/** Watches pods' links in the kernel, and puts a tag that another program changed on again. */
import type { LiveTable } from '../enforce/live-table.ts';
import type { LocalPod } from '../gate/node-state.ts';
import { type Link, linkOf } from '../kernel/link.ts';
import type { Exchange } from '../kernel/message.ts';
import { resubscribed } from '../kernel/resubscribed.ts';
import { RTNLGRP } from '../kernel/subscription.ts';
import { allLinks, tagLink } from '../pod/links.ts';
import { condemned } from '../tag/tag.ts';

const podOf = ({ ifindex, name }: Link, pods: ReadonlyMap<number | string, LocalPod>): LocalPod | undefined =>
  pods.get(ifindex) ?? pods.get(name);

export class LinkWatch {
  readonly #table: Pick<LiveTable, 'state'>;
  readonly #host: Exchange;
  readonly #opening: ReadonlySet<string>;
  readonly #ring: () => void;
  /** Links that were put right. */
  mended = 0;

  /**
   * @param opening  keys of pods whose links are an ADD's to open
   * @param ring  called where something may have to be mended
   */
  constructor(table: Pick<LiveTable, 'state'>, host: Exchange, opening: ReadonlySet<string>, ring: () => void) {
    this.#table = table;
    this.#host = host;
    this.#opening = opening;
    this.#ring = ring;
  }

  /** Pods by the ifindex of their host end; by its name where an older version wrote down no ifindex. */
  #pods(): ReadonlyMap<number | string, LocalPod> {
    const pods = Object.entries(this.#table.state.pods).filter(([key]) => !this.#opening.has(key));
    return new Map(pods.map(([, pod]) => [pod.ifindex ?? pod.link, pod]));
  }

  /** Whether the link has another tag than its pod; a condemned link is left, its DEL is under way. */
  #isWrong(link: Link, pods: ReadonlyMap<number | string, LocalPod>): boolean {
    const pod = podOf(link, pods);
    return pod !== undefined && pod.tag !== link.group && link.group !== condemned;
  }

  /** @returns how many were put right */
  mend(): number {
    const pods = this.#pods();
    const wrong = allLinks(this.#host).filter(link => this.#isWrong(link, pods));
    for (const link of wrong) tagLink(this.#host, link.ifindex, podOf(link, pods)!.tag);
    this.mended += wrong.length;
    return wrong.length;
  }

  /** Rings whenever a pod's link has another tag than its own, until it is disposed of. */
  watch(): Disposable {
    return resubscribed('route', [RTNLGRP.LINK], {
      onMessage: message => {
        if (this.#isWrong(linkOf(message), this.#pods())) this.#ring();
      },
      onGap: this.#ring,
    });
  }
}
