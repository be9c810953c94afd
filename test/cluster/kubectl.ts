/** kubectl(1), as an administrator of the cluster calls it. */
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { PATIENCE, until } from '../support/until.ts';
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
    const options = { encoding: 'utf8', timeout: PATIENCE, stdio: 'pipe' } as const;
    return execFileSync(program, [...this.#options, ...command], options);
  }

  /** What it prints once it succeeds and prints something. @throws Error at the deadline, with what it said last */
  async until(what: string, ...command: string[]): Promise<string> {
    let failure: unknown;
    const attempt = () => {
      try {
        return this.run(...command) || undefined;
      } catch (error) {
        failure = error;
        return undefined;
      }
    };
    return await until(what, attempt).catch(error => {
      throw new Error(error.message, { cause: failure });
    });
  }

  /** It goes on until it is killed. */
  spawn(...command: string[]): ChildProcessWithoutNullStreams {
    return spawn(program, [...this.#options, ...command], { stdio: 'pipe' });
  }
}
