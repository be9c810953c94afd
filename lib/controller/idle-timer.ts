/** Work for when nothing else is to be done: it runs once so many milliseconds have passed since the last of the tasks. */
export class IdleTimer implements Disposable {
  readonly #milliseconds: number;
  readonly #work: () => void;
  #tasks = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(milliseconds: number, work: () => void) {
    this.#milliseconds = milliseconds;
    this.#work = work;
  }

  async during<T>(task: () => Promise<T>): Promise<T> {
    clearTimeout(this.#timer);
    this.#tasks++;
    try {
      return await task();
    } finally {
      if (--this.#tasks === 0) this.#timer = setTimeout(this.#work, this.#milliseconds).unref();
    }
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
