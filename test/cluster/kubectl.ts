/** kubectl(1), as an administrator of the cluster calls it. */
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { adminConfig } from './control.ts';
import { kubernetes } from './daemon.ts';

const program = `${kubernetes}/kubectl`;

export class Kubectl {
  readonly #options: readonly string[];

  /** For objects of this namespace. */
  constructor(namespace: string) {
    this.#options = [`--kubeconfig=${adminConfig}`, `--namespace=${namespace}`];
  }

  /** What it prints. @throws Error it ends with another status than 0 */
  run(...command: string[]): string {
    const options = { encoding: 'utf8', timeout: 120_000, stdio: 'pipe' } as const;
    return execFileSync(program, [...this.#options, ...command], options);
  }

  /** What it prints; undefined where it fails, or prints nothing. */
  attempt(...command: string[]): string | undefined {
    try {
      return this.run(...command) || undefined;
    } catch {
      return undefined;
    }
  }

  /** It goes on until it is killed. */
  spawn(...command: string[]): ChildProcessWithoutNullStreams {
    return spawn(program, [...this.#options, ...command], { stdio: 'pipe' });
  }
}
