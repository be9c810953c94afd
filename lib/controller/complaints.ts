/** Logs faults of API objects, at most a line for each object and not many in all, so that their authors cannot fill the log. */
import type { Clock } from '../kube/clock.ts';
import type { ObjectProblem } from '../kube/object.ts';
import type { Log } from '../rpc/log.ts';
import { printable } from '../tag/printable.ts';

/** Milliseconds. */
const WINDOW = 60_000;
/** Lines in a window, whosever they are. */
const MOST = 20;

interface Heard {
  /** The first error, or else the first warning. */
  readonly first: ObjectProblem;
  readonly count: number;
}

const lint = '`kubectl get netpol -A -o yaml | tollgate policy lint -f -` tells all';

function lineOf({ first: { object, field, message }, count }: Heard): string {
  const more = count > 1 ? ` (and ${count - 1} more like it: ${lint})` : '';
  return printable(`${object} ${field}: ${message}${more}`);
}

export class Complaints implements Disposable {
  readonly #log: Log;
  readonly #clock: Clock;
  /** Problems of the object that is being read, by object. */
  readonly #heard = new Map<string, Heard>();
  /** Objects that have had their line in this window. */
  readonly #told = new Set<string>();
  #untold = new Set<string>();
  /** Calls off the end of the window; undefined outside one. */
  #callOff: (() => void) | undefined;

  constructor(log: Log, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  /** Takes one problem of an object that is being read; the object's line is written once it has been read. */
  readonly take = (complaint: ObjectProblem): void => {
    if (this.#heard.size === 0) queueMicrotask(() => this.#tell());
    const key = complaint.object ?? '';
    const { first, count } = this.#heard.get(key) ?? { first: complaint, count: 0 };
    const isWorse = first.severity === 'warning' && complaint.severity === 'error';
    this.#heard.set(key, { first: isWorse ? complaint : first, count: count + 1 });
  };

  #tell(): void {
    const heard = [...this.#heard];
    this.#heard.clear();
    for (const [key, each] of heard) {
      if (this.#told.has(key) || this.#told.size >= MOST) {
        this.#untold.add(key);
        continue;
      }
      this.#told.add(key);
      this.#log(each.first.severity === 'error' ? 'warn' : 'info', lineOf(each));
    }
    this.#callOff ??= this.#clock.after(WINDOW, () => this.#sum());
  }

  #sum(): void {
    const count = this.#untold.size;
    this.#callOff = undefined;
    this.#told.clear();
    this.#untold = new Set();
    if (count > 0)
      this.#log('warn', `Something is wrong with ${count} objects that changed within the last minute: ${lint}`);
  }

  [Symbol.dispose](): void {
    this.#callOff?.();
    this.#callOff = undefined;
  }
}
