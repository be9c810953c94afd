/** Recorded flows of all nodes as one list: a flow between two of them stands there once, with what both know of it. */
import type { Entry } from '../../flows/model.ts';
import { entriesOfNodes, type NodeEntry } from '../../flows/of-nodes.ts';
import { type Exit, printLines } from '../command.ts';
import { entryText } from '../flows/flow-lines.ts';
import { Follower } from '../flows/follower.ts';
import { LAST } from '../flows/recorded.ts';
import type { AgentPod, KubectlTarget } from './kubectl.ts';
import { askedOfNodes, heardOfNodes, isJson, worstExit } from './on-nodes.ts';

/** What is no list of recorded flows: it is a sum, or a link, or what each node's log tells. */
const isNoList = /^(--sum|--open|--denied)(=|$)/;

export const isFlowList = (args: readonly string[]): boolean => !args.some(word => isNoList.test(word));

export const isFollowed = (args: readonly string[]): boolean => args.some(word => /^(--follow|-f)$/.test(word));

/** The option's value, as `--last 5` or `--last=5`. */
function valueIn(args: readonly string[], option: string): string | undefined {
  const at = args.findIndex(word => word === option || word.startsWith(`${option}=`));
  return args[at] === option ? args[at + 1] : args[at]?.slice(option.length + 1);
}

/** How many flows the list has at most, as on one node. */
function mostIn(args: readonly string[]): number {
  const last = valueIn(args, '--last');
  if (last !== undefined) return Number(last);
  return valueIn(args, '--since') === undefined ? LAST : Number.POSITIVE_INFINITY;
}

/** The newest flows, so many at most, and the notes among them: each node has given so many. */
function newest(entries: readonly NodeEntry[], most: number): readonly NodeEntry[] {
  let flows = 0;
  const from = entries.findLastIndex(({ entry }) => entry.kind === 'flow' && ++flows > most);
  return entries.slice(from + 1);
}

type Line = (told: NodeEntry) => string;

const listedAsJson: Line = ({ nodes, entry }) => JSON.stringify({ nodes, ...entry });
const followedAsJson: Line = ({ nodes: [node], entry }) => JSON.stringify({ node, ...entry });
const asText: Line = ({ nodes, entry }) => `${nodes.join(',')}: ${entryText(entry)}`;

/** Nodes answer in JSON, whatever is printed of it: what the words say of the output is left out. */
export const withJson = (args: readonly string[]): readonly string[] => [
  ...args.filter((word, i) => !/^(-o|--output$|--output=)/.test(word) && !/^(-o|--output)$/.test(args[i - 1] ?? '')),
  ...['-o', 'json'],
];

const listLines = (lists: ReadonlyMap<string, readonly Entry[]>, args: readonly string[]): readonly string[] =>
  newest(entriesOfNodes(lists), mostIn(args)).map(isJson(args) ? listedAsJson : asText);

/** @param args as they follow `tollgate flows` @returns the worst exit code of all nodes */
export async function listFlowsOfNodes(
  pods: readonly AgentPod[],
  target: KubectlTarget,
  args: readonly string[],
): Promise<Exit> {
  const answers = await askedOfNodes(pods, target, ['flows', ...withJson(args)]);
  const entriesIn = (text: string): readonly Entry[] =>
    text
      .split('\n')
      .filter(line => line.startsWith('{'))
      .map(line => JSON.parse(line) as Entry);
  const lines = listLines(new Map(answers.map(({ node, text }) => [node, entriesIn(text)])), args);
  if (lines.length > 0) printLines(lines);
  return worstExit(answers);
}

/** One node, as it is followed. */
interface FollowedNode {
  readonly follower: Follower;
  readonly past: Entry[];
  /** What has come since, until the past of all nodes is shown. */
  readonly held: Entry[];
  isLive: boolean;
}

/** What has been on all nodes as one list, and then what comes, as each node tells it. */
export class FollowedNodes {
  readonly #args: readonly string[];
  readonly #nodes: ReadonlyMap<string, FollowedNode>;
  readonly #print: (line: string) => void;
  #isPastShown: boolean;

  /** @param args as they follow `tollgate flows` */
  constructor(nodes: readonly string[], args: readonly string[], print: (line: string) => void) {
    this.#args = args;
    this.#print = print;
    const isPastAsked = ['--last', '--since'].some(option => valueIn(args, option) !== undefined);
    this.#isPastShown = !isPastAsked;
    const start = (): FollowedNode => ({
      ...{ follower: new Follower(!isJson(args)), past: [], held: [], isLive: !isPastAsked },
    });
    this.#nodes = new Map(nodes.map(node => [node, start()]));
  }

  take(name: string, line: string): void {
    if (!line.startsWith('{')) return;
    const node = this.#nodes.get(name)!;
    const entry = JSON.parse(line) as Entry | { readonly kind: 'live' };
    if (entry.kind === 'live') this.liveOrOver(name);
    else if (!node.follower.isNews(entry)) return;
    else if (this.#isPastShown) this.#tell(name, entry);
    else (node.isLive ? node.held : node.past).push(entry);
  }

  /** Nothing more of what has been is to come from the node. */
  liveOrOver(name: string): void {
    this.#nodes.get(name)!.isLive = true;
    if (this.#isPastShown || ![...this.#nodes.values()].every(({ isLive }) => isLive)) return;
    this.#isPastShown = true;
    const past = new Map([...this.#nodes].map(([node, each]) => [node, each.past]));
    for (const line of listLines(past, this.#args)) this.#print(line);
    for (const [node, { held }] of this.#nodes) for (const entry of held) this.#tell(node, entry);
  }

  #tell(node: string, entry: Entry): void {
    this.#print((isJson(this.#args) ? followedAsJson : asText)({ nodes: [node], entry }));
  }
}

/** Until interrupted. @param args as they follow `tollgate flows` @returns the worst exit code of all nodes */
export async function followFlowsOfNodes(
  pods: readonly AgentPod[],
  target: KubectlTarget,
  args: readonly string[],
): Promise<Exit> {
  const nodes = pods.map(({ node }) => node);
  const followed = new FollowedNodes(nodes, args, line => printLines([line]));
  const answers = await heardOfNodes(pods, target, ['flows', ...withJson(args)], {
    line: (node, line) => followed.take(node, line),
    over: node => followed.liveOrOver(node),
  });
  return worstExit(answers);
}
