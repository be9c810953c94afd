/** A node with `tollgate install` and a warm worker: launchers where the runtime calls, one process behind them. */
import { existsSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { type Config, makePods, ours, Place, tollgate } from './cni.ts';
import { processorMs } from './measure.ts';
import { BenchNode } from './node.ts';

/** Milliseconds, with room for a machine ten times slower. */
const DEADLINE = 60_000;

export class WarmPlace extends Place {
  /** Of the worker. */
  readonly pid: number;

  /** Its worker answers when this has resolved. @param policies manifests that are there from the start */
  static async start(more: Config, policies?: string): Promise<WarmPlace> {
    const node = new BenchNode();
    if (policies !== undefined) node.write('policies/all.json', policies);
    const { folder } = node;
    const bin = `${folder}/bin`;
    const runDir = `${folder}/run`;
    const install = ['install', '--bin-dir', bin, '--conf-dir', `${folder}/net.d`, '--run-dir', runDir];
    // Its exit code tells what the node lacks to carry real pods' traffic; that is nothing to a benchmark.
    node.run({ command: '/bin/sh', args: ['-c', '"$0" "$@" >/dev/null || [ $? = 1 ]', tollgate, ...install] });
    const folders = ['--run-dir', runDir, '--state-dir', `${folder}/state`, '--policies', `${folder}/policies`];
    const worker = node.serve({ command: `${bin}/tollgate-node`, args: ['agent', '--no-kubernetes', ...folders] });
    for (const end = performance.now() + DEADLINE; !existsSync(`${runDir}/cni.sock`); await pause(20))
      if (worker.exitCode !== null || performance.now() > end)
        throw new Error(`Cannot start the worker of ${folder}: exit ${worker.exitCode}`);
    return new WarmPlace(more, node, worker.pid!);
  }

  private constructor(more: Config, node: BenchNode, pid: number) {
    super(ours(more, `${node.folder}/bin/tollgate`), node);
    this.pid = pid;
  }
  override spent(): number {
    return processorMs(this.pid);
  }
}

/** A worker lives as long as its node: after some hundred calls its code is as fast as it will be. */
export async function used<T extends Place>(place: T, pods = makePods(50)): Promise<T> {
  for (let round = 0; round < 8; round++) {
    await place.addAll(pods, 2);
    await place.delAll(pods, 2);
  }
  return place;
}
