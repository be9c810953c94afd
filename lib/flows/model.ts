/**
 * A flow as scripts, people and the page see it: which end opened it to which, what the gate said, and by which policies.
 * The same values are the lines of `tollgate flows -o json`, of the API and of the audit file; conf/FLOWS.md describes
 * each field, and a field that stands there keeps its meaning.
 */
import type { DirectionVerdict } from '../policy/model/model.ts';

/** One end of a flow as policy sees it: after destination NAT, before source NAT. */
export interface FlowEnd {
  /** `outside` is an address that is neither a pod's nor this node's. */
  readonly kind: 'pod' | 'node' | 'outside';
  /** `shop/web`, `node`, or the address. */
  readonly name: string;
  /** Canonical text. */
  readonly address: string;
  /** Only a pod has these. */
  readonly namespace?: string;
  readonly pod?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

/** Where a packet was sent, or seems to come from, in the eyes of the one end that NAT deceives. */
export interface TranslatedEnd {
  readonly address: string;
  /** null where the protocol has none. */
  readonly port: number | null;
}

/** The verdict of policy in one direction, in the words of `evaluate`. */
export type FlowJudgement = Pick<DirectionVerdict, 'allowed' | 'isolated' | 'tier' | 'by' | 'why'> & {
  /** `NetworkPolicy/shop/web ingress[0]`: the rules that allow it; of a cluster policy the one that decides. */
  readonly rules: readonly string[];
};

/** What becomes of a flow by the policies in force and the staged ones together, where that differs from what became of it. */
export interface StagedJudgement {
  readonly verdict: 'allowed' | 'denied';
  /** The staged policies that make the difference. */
  readonly by: readonly string[];
  /** Their rules that decide, or pass it on; none where a policy denies it because no rule allows it. */
  readonly rules: readonly string[];
  readonly why: string;
}

/** Both directions; null where the end is no pod of this node, so that the policies of another node decide. */
export interface Judgements {
  readonly egress: FlowJudgement | null;
  readonly ingress: FlowJudgement | null;
  /**
   * `changed`: the kernel decided otherwise than the policies of that moment, since these were just changing.
   * `busy`: the agent evaluated no policy, since too many different flows came at once.
   */
  readonly doubt?: 'changed' | 'busy';
  /** Absent where staged policies change nothing, and where there is a doubt. */
  readonly staged?: StagedJudgement;
}

/** Names in one list of a record: a tenant may have thousands of policies. */
const MOST_NAMES = 20;

/** The first names; where there are more, how many of them as the last text: `and 37 more`. */
export const atMost = (names: readonly string[]): readonly string[] =>
  names.length <= MOST_NAMES ? names : [...names.slice(0, MOST_NAMES), `and ${names.length - MOST_NAMES} more`];

/** Stands for policies that are not named one by one. */
export const OTHERS = 'others';

/** The policies of a record's list, each once; `others` for those that the list has no room for. */
export const policiesIn = (names: readonly string[]): readonly string[] => [
  ...new Set(names.map(name => (name.includes('/') ? name : OTHERS))),
];

export interface Counters {
  readonly packets: number;
  readonly bytes: number;
}

export const flowStates = ['open', 'closed', 'denied'] as const;
export type FlowState = (typeof flowStates)[number];

export interface FlowRecord extends Judgements {
  readonly kind: 'flow';
  /** Rises by one for each flow of a recorder. */
  readonly id: number;
  /** Seconds since 1970 at which it was opened; where `isStartKnown` is false, at which it was found open. */
  readonly time: number;
  readonly isStartKnown: boolean;
  /** Seconds since 1970; null while it is open. */
  readonly end: number | null;
  readonly state: FlowState;
  /** The kernel's verdict. */
  readonly verdict: 'allowed' | 'denied';
  readonly from: FlowEnd;
  readonly to: FlowEnd;
  /** `TCP`, `UDP`, `SCTP`, `ICMP`, `ICMPv6`, or the protocol's number. */
  readonly protocol: string;
  readonly sourcePort: number | null;
  /** After destination NAT. */
  readonly port: number | null;
  /** Where the client sent it, if that is not where it went: a Service, a host port. */
  readonly sentTo: TranslatedEnd | null;
  /** Under which address the other end sees the client, if not under its own. */
  readonly seenFrom: TranslatedEnd | null;
  /** From client to server, as conntrack counts; null where it does not, or not yet. */
  readonly sent: Counters | null;
  readonly received: Counters | null;
}

/** Events that the kernel had no room for: what opened or closed in between is known by a dump alone. */
export interface LossNote {
  readonly kind: 'loss';
  readonly time: number;
  /** When all flows of now were known again. */
  readonly until: number;
  readonly events: number;
}

/** Packets that a chain denied and the log left out. */
export interface SumNote {
  readonly kind: 'sum';
  readonly time: number;
  readonly direction: 'egress' | 'ingress';
  readonly by: readonly string[];
  readonly packets: number;
}

/** Changes that are missing in a list or a file: they came faster than it was read, or written. */
export interface GapNote {
  readonly kind: 'gap';
  readonly time: number;
  readonly changes: number;
}

/** Stands in a file where an agent goes on with what another one left: nothing is known to have been recorded in between. */
export interface AwayNote {
  readonly kind: 'away';
  /** Of the last record before it. */
  readonly time: number;
  readonly until: number;
}

export type Note = LossNote | SumNote;
export type Entry = FlowRecord | Note | GapNote;

/** One message of a live answer. */
export interface LiveMessage {
  readonly entries: readonly Entry[];
  /** Changes that were left out because they were not read fast enough. */
  readonly skipped: number;
  /** In the first message: since when there is a record, seconds since 1970. Another agent has another. */
  readonly since?: number;
  /** The entries are those of before the reader came. */
  readonly isPast?: true;
}

const protocolNames: Readonly<Record<number, string>> = { 1: 'ICMP', 6: 'TCP', 17: 'UDP', 58: 'ICMPv6', 132: 'SCTP' };

/** Of sums of flows that have no sum of their own. */
export const ANY_PROTOCOL = 'any';

/** A protocol as records and sums have it, from its name in any case or from its number; undefined where it is neither. */
export function protocolNamed(text: string): string | undefined {
  if (/^\d{1,3}$/.test(text)) return Number(text) < 256 ? protocolName(Number(text)) : undefined;
  return [ANY_PROTOCOL, ...Object.values(protocolNames)].find(name => name.toLowerCase() === text.toLowerCase());
}

/** @param number IPPROTO_* */
export const protocolName = (number: number): string => protocolNames[number] ?? String(number);

/** TCP, UDP, SCTP and DCCP, UDP-Lite: what has ports. */
export const hasPorts = (protocol: number): boolean => [6, 17, 33, 132, 136].includes(protocol);
