/** Logs CNI calls, a line each; a call that only asks, and is answered as before, is logged at level debug. */
import type { Environment } from '../cni/request.ts';
import type { Log } from '../rpc/log.ts';
import type { CallAnswer, CallRequest } from '../rpc/protocol.ts';

/** How a call went. */
export interface CallOutcome {
  readonly verb: string;
  /** 0 where it succeeded. */
  readonly code: number;
  readonly ms: number;
}

/** A failure's code; 0 where the call succeeded. */
function codeOf({ exitCode, stdout }: CallAnswer): number {
  if (exitCode === 0) return 0;
  const { code } = JSON.parse(stdout) as { readonly code?: number };
  return code ?? 0;
}

/** Runtimes ask by these over and over: containerd by STATUS every five seconds. */
const asking: ReadonlySet<string> = new Set(['STATUS', 'CHECK']);

export class CallLog {
  readonly #log: Log;
  readonly #counted: (outcome: CallOutcome) => void;
  /** The code of the last STATUS that failed; 0 where the last one succeeded. */
  #status = 0;

  constructor(log: Log, counted: (outcome: CallOutcome) => void = () => undefined) {
    this.#log = log;
    this.#counted = counted;
  }

  /** Carries a call out, and tells how it went. */
  async tell(call: CallRequest, work: () => Promise<CallAnswer>): Promise<CallAnswer> {
    const { CNI_COMMAND: verb = '', CNI_CONTAINERID: containerID, CNI_IFNAME: ifname } = call.env as Environment;
    const start = performance.now();
    const answered = await work();
    const ms = Math.round((performance.now() - start) * 10) / 10;
    const code = codeOf(answered);
    this.#counted({ verb, code, ms });
    this.#log(this.#levelOf(verb, code), 'call', { verb, containerID, ifname, ms, ...(code ? { code } : {}) });
    return answered;
  }

  /** Debug for what only asks and is answered as before. A CHECK is about one attachment, so each that fails is news. */
  #levelOf(verb: string, code: number): 'debug' | 'info' | 'warn' {
    const isNews = verb !== 'STATUS' || code !== this.#status;
    if (verb === 'STATUS') this.#status = code;
    if (code !== 0) return isNews ? 'warn' : 'debug';
    return asking.has(verb) && !(verb === 'STATUS' && isNews) ? 'debug' : 'info';
  }
}
