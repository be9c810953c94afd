/** Those who ask: pods from their own network namespaces, nodes, and a machine outside of the cluster. */
import { once } from 'node:events';
import { Host } from '../support/host.ts';
import { outside } from './addresses.ts';
import type { Pod } from './api.ts';
import type { KubeCluster } from './cluster.ts';
import { podProgram } from './images.ts';
import type { KubeNode } from './node.ts';
import { NO_ANSWER } from './patience.ts';

export type Family = 4 | 6;
export type Transport = 'tcp' | 'udp';

export interface Target {
  readonly address: string;
  readonly port: number;
  readonly transport: Transport;
}

/** What a pod says that is asked who it is. */
export interface Answer {
  /** The pod. */
  readonly name: string;
  /** From which address it was asked, as it sees it. */
  readonly seen: string;
}

/** Runs the pods' program where it is; its exit status and what it prints. */
type Run = (words: readonly string[]) => Promise<{ readonly exit: number | null; readonly stdout: string }>;

export class Asker {
  readonly #run: Run;

  constructor(run: Run) {
    this.#run = run;
  }

  static pod(cluster: KubeCluster, pod: Pod): Asker {
    return new Asker(async words => {
      const child = cluster.spawn(pod, ...words);
      let stdout = '';
      child.stdout!.setEncoding('utf8').on('data', chunk => {
        stdout += chunk;
      });
      const [exit] = (await once(child, 'close')) as [number | null];
      return { exit, stdout };
    });
  }

  static node({ host }: Pick<KubeNode, 'host'>): Asker {
    return new Asker(async words => await host.run([podProgram, ...words]));
  }

  /** What comes back of one word, or undefined where nothing does within the patience (ms). */
  async say(word: string, { transport, address, port }: Target, patience: number): Promise<string | undefined> {
    const { exit, stdout } = await this.#run(['ask', transport, address, String(port), String(patience), word]);
    if (exit !== 0 && exit !== NO_ANSWER) throw new Error(`Cannot ask ${transport} ${address} ${port}: exit ${exit}`);
    return exit === 0 ? stdout : undefined;
  }

  /** Undefined where nobody answers within the patience (ms). */
  async ask(target: Target, patience: number): Promise<Answer | undefined> {
    const [name, seen] = (await this.say('who', target, patience))?.trim().split(' ') ?? [];
    return name === undefined ? undefined : { name, seen: seen! };
  }
}

/** On the link that the nodes share, and no part of the cluster. */
export async function startOutside({ control }: KubeCluster): Promise<Host> {
  const host = await Host.start({ pids: true });
  await control.plug(host, 'outside', outside);
  return host;
}
