import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { ownProgram, PATH } from '../program.ts';
import type { Order, PodReply } from './pod-program.ts';

/** A process with a network of its own. */
export class TestPod implements Disposable {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #replies: AsyncIterator<string>;
  addresses: readonly string[] = [];

  static async start(namespace: string, name: string, labels: TestPod['labels']): Promise<TestPod> {
    const { file, args } = ownProgram();
    const child = spawn(file, [...args, 'test-pod'], { env: { PATH } });
    child.stderr.pipe(process.stderr);
    const pod = new TestPod(namespace, name, labels, child);
    await pod.#reply();
    return pod;
  }

  private constructor(
    namespace: string,
    name: string,
    labels: TestPod['labels'],
    child: ChildProcessWithoutNullStreams,
  ) {
    this.namespace = namespace;
    this.name = name;
    this.labels = labels;
    this.#child = child;
    // A pod that has died is noticed by its silence.
    child.stdin.on('error', () => {});
    this.#replies = createInterface(child.stdout)[Symbol.asyncIterator]();
  }

  get ref(): string {
    return `${this.namespace}/${this.name}`;
  }

  get netns(): string {
    return `/proc/${this.#child.pid}/ns/net`;
  }

  async #reply(): Promise<PodReply> {
    const { value, done } = await this.#replies.next();
    if (done) throw new Error(`Cannot talk to pod ${this.ref}: its process has ended`);
    return JSON.parse(value) as PodReply;
  }

  order(order: Order): Promise<PodReply> {
    this.#child.stdin.write(`${JSON.stringify(order)}\n`);
    return this.#reply();
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
  }
}
