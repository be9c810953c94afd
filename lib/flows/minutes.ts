/**
 * Sums of flows by the minute, for a day: they say which workloads talked when, long after single flows have given way. Bounded
 * in keys and in bytes: flows that do not fit go to one key for all others, and the oldest minutes go first.
 */
import { ANY_PROTOCOL, type FlowEnd, type FlowJudgement, type Judgements, type StagedJudgement } from './model.ts';
import { workloadOf } from './workload.ts';

/** An end in a sum: a workload, this node, or all that is outside. */
export interface SummedEnd {
  readonly kind: FlowEnd['kind'];
  /** `shop/web`, `node`, `outside`. */
  readonly name: string;
  readonly namespace?: string;
  /** The workload's name. */
  readonly pod?: string;
}

export type SummedJudgement = Pick<FlowJudgement, 'allowed' | 'by'>;

export interface SumKey {
  readonly from: SummedEnd;
  readonly to: SummedEnd;
  readonly protocol: string;
  /** null: the protocol has none, or none in particular: a server's port only counts where it is below the ephemeral ones. */
  readonly port: number | null;
  readonly verdict: 'allowed' | 'denied';
  readonly egress: SummedJudgement | null;
  readonly ingress: SummedJudgement | null;
  /** Absent where staged policies would change nothing. */
  readonly staged?: Pick<StagedJudgement, 'verdict' | 'by'>;
}

export interface SummedFlows extends SumKey {
  readonly flows: number;
  /** Both ways. */
  readonly bytes: number;
  /** Seconds since 1970: the first and the last minute in which it was. */
  readonly first: number;
  readonly last: number;
}

const MINUTE = 60;
const DAY_OF_MINUTES = 24 * 60;
/** Different keys within a day; a name of Kubernetes is at most 253 characters long, and a key has four. */
const MOST_KEYS = 4096;
/** Keys within one minute. */
const MOST_IN_MINUTE = 1024;
/** Characters of all keys together: the names of policies in them may be many. */
const MOST_TEXT = 2_097_152;
/** Numbers of all minutes together: 8 bytes each, so 6 MiB. */
const MOST_NUMBERS = 786_432;
/** Key, flows, bytes. */
const WIDTH = 3;

const OTHERS: SummedEnd = { kind: 'outside', name: 'others' };

const summedEnd = (end: FlowEnd): SummedEnd => {
  if (end.kind !== 'pod') return { kind: end.kind, name: end.kind };
  const pod = workloadOf(end.pod ?? '');
  const namespace = end.namespace ?? '';
  return { kind: 'pod', name: `${namespace}/${pod}`, namespace, pod };
};

/** Linux hands out ephemeral ports from here on. @see net.ipv4.ip_local_port_range */
const EPHEMERAL = 32_768;

interface Minute {
  /** Minutes since 1970. */
  readonly at: number;
  readonly counts: Map<number, { flows: number; bytes: number }>;
}

/** A minute that is over, as numbers: key, flows, bytes, and so on. */
interface Past {
  readonly at: number;
  readonly numbers: Float64Array;
}

export interface SummedFlow {
  readonly from: FlowEnd;
  readonly to: FlowEnd;
  readonly protocol: string;
  readonly port: number | null;
  readonly verdict: 'allowed' | 'denied';
  readonly judgements: Pick<Judgements, 'egress' | 'ingress' | 'staged'>;
}

export class Minutes {
  readonly #keys = new Map<number, SumKey>();
  #next = 0;
  readonly #ids = new Map<string, number>();
  readonly #past: Past[] = [];
  #numbers = 0;
  #text = 0;
  #now: Minute | undefined;
  /** The minute in which keys were last looked for that nothing counts. */
  #forgotten: number | undefined;
  readonly #limits: { readonly keys: number; readonly inMinute: number; readonly numbers: number };

  constructor(limits: Partial<{ keys: number; inMinute: number; numbers: number }> = {}) {
    this.#limits = { keys: MOST_KEYS, inMinute: MOST_IN_MINUTE, numbers: MOST_NUMBERS, ...limits };
  }

  /** The key under which a flow counts; a number that `count` takes for as long as `knows` does. */
  keyOf(counted: SummedFlow): number {
    const { judgements, verdict, protocol } = counted;
    const port = counted.port !== null && counted.port < EPHEMERAL ? counted.port : null;
    const word = (judgement: FlowJudgement | null): SummedJudgement | null =>
      judgement && { allowed: judgement.allowed, by: judgement.by };
    const key: SumKey = {
      ...{ from: summedEnd(counted.from), to: summedEnd(counted.to), protocol, port, verdict },
      ...{ egress: word(judgements.egress), ingress: word(judgements.ingress) },
      ...(judgements.staged ? { staged: { verdict: judgements.staged.verdict, by: judgements.staged.by } } : {}),
    };
    return this.#idOf(key) ?? this.#others(verdict);
  }

  #idOf(key: SumKey, limit = this.#limits.keys): number | undefined {
    const text = JSON.stringify(key);
    const known = this.#ids.get(text);
    if (known !== undefined) return known;
    if (!this.#hasRoom(text.length, limit)) this.#forget();
    if (!this.#hasRoom(text.length, limit)) return undefined;
    const id = this.#next++;
    this.#text += text.length;
    this.#ids.set(text, id);
    this.#keys.set(id, key);
    return id;
  }

  #hasRoom(length: number, limit: number): boolean {
    return this.#keys.size < limit && (limit > this.#limits.keys || this.#text + length <= MOST_TEXT);
  }

  /** Keys that no minute counts any more make room for those that come; looked for once a minute. */
  #forget(): void {
    if (this.#forgotten === this.#now?.at) return;
    this.#forgotten = this.#now?.at;
    const used = new Set(this.#now?.counts.keys());
    for (const { numbers } of this.#past) for (let i = 0; i < numbers.length; i += WIDTH) used.add(numbers[i]!);
    for (const [text, id] of this.#ids) {
      if (used.has(id)) continue;
      this.#ids.delete(text);
      this.#keys.delete(id);
      this.#text -= text.length;
    }
  }

  /** Whether `keyOf` still gives this key: one that no minute has counted for long may be forgotten. */
  knows(key: number): boolean {
    return this.#keys.has(key);
  }

  #others(verdict: 'allowed' | 'denied'): number {
    const nothing = { protocol: ANY_PROTOCOL, port: null, egress: null, ingress: null };
    return this.#idOf({ from: OTHERS, to: OTHERS, verdict, ...nothing }, this.#limits.keys + 2)!;
  }

  /**
   * @param given a key; the flow counts among others where it is forgotten
   * @param time seconds since 1970; what lies before the newest minute counts in that
   */
  count(given: number, time: number, flows: number, bytes = 0): void {
    let key = this.#keys.has(given) ? given : this.#others('allowed');
    const { counts } = this.#minute(time);
    const isFull = counts.size >= this.#limits.inMinute;
    if (isFull && !counts.has(key)) key = this.#others(this.#keys.get(key)!.verdict);
    const known = counts.get(key) ?? { flows: 0, bytes: 0 };
    known.flows += flows;
    known.bytes += bytes;
    counts.set(key, known);
  }

  #minute(time: number): Minute {
    const at = Math.floor(time / MINUTE);
    if (this.#now && at <= this.#now.at) return this.#now;
    if (this.#now) this.#pack(this.#now);
    this.#now = { at, counts: new Map() };
    return this.#now;
  }

  #pack({ at, counts }: Minute): void {
    const numbers = Float64Array.from([...counts].flatMap(([key, { flows, bytes }]) => [key, flows, bytes]));
    this.#past.push({ at, numbers });
    this.#numbers += numbers.length;
    const oldest = at + 1 - DAY_OF_MINUTES;
    while (this.#past.length > 0 && (this.#past[0]!.at <= oldest || this.#numbers > this.#limits.numbers))
      this.#numbers -= this.#past.shift()!.numbers.length;
  }

  /** Seconds since 1970: nothing before is known here. */
  get since(): number | undefined {
    const at = this.#past[0]?.at ?? this.#now?.at;
    return at === undefined ? undefined : at * MINUTE;
  }

  /** Bytes, about. */
  get bytes(): number {
    return this.#numbers * 8 + (this.#now?.counts.size ?? 0) * 64 + this.#keys.size * 256 + this.#text * 4;
  }

  /** Each key that was counted in a minute that ended after `since`, with its sums. */
  summed(since: number): readonly SummedFlows[] {
    const sums = new Map<number, { flows: number; bytes: number; first: number; last: number }>();
    const add = (at: number, key: number, flows: number, bytes: number): void => {
      const sum = sums.get(key) ?? { flows: 0, bytes: 0, first: at * MINUTE, last: at * MINUTE };
      sum.flows += flows;
      sum.bytes += bytes;
      sum.last = at * MINUTE;
      sums.set(key, sum);
    };
    const isWanted = (at: number): boolean => (at + 1) * MINUTE > since;
    for (const { at, numbers } of this.#past)
      if (isWanted(at))
        for (let i = 0; i < numbers.length; i += WIDTH) add(at, numbers[i]!, numbers[i + 1]!, numbers[i + 2]!);
    if (this.#now && isWanted(this.#now.at))
      for (const [key, { flows, bytes }] of this.#now.counts) add(this.#now.at, key, flows, bytes);
    return [...sums].map(([key, sum]) => ({ ...this.#keys.get(key)!, ...sum }));
  }
}
