/** Recorded flows of all nodes as one list: a flow between two of them stands there once, with what both know of it. */
import type { Entry } from '../../flows/model.ts';
import { entriesOfNodes } from '../../flows/of-nodes.ts';
import { type Exit, printLines } from '../command.ts';
import { entryText } from '../flows/flow-lines.ts';
import type { AgentPod, KubectlTarget } from './kubectl.ts';
import { askedOfNodes, isJson, worstExit } from './on-nodes.ts';

/** What is no list of recorded flows: it has no end, or is a sum, or a link. */
const isNoList = /^(--follow|-f|--sum|--open|--denied)(=|$)/;

export const isFlowList = (args: readonly string[]): boolean => !args.some(word => isNoList.test(word));

const entriesIn = (text: string): readonly Entry[] =>
  text
    .split('\n')
    .filter(line => line.startsWith('{'))
    .map(line => JSON.parse(line) as Entry);

/** @param args as they follow `tollgate flows` @returns the worst exit code of all nodes */
export async function listFlowsOfNodes(
  pods: readonly AgentPod[],
  target: KubectlTarget,
  args: readonly string[],
): Promise<Exit> {
  const asJson = isJson(args);
  const answers = await askedOfNodes(pods, target, ['flows', ...args, ...(asJson ? [] : ['-o', 'json'])]);
  const merged = entriesOfNodes(new Map(answers.map(({ node, text }) => [node, entriesIn(text)])));
  const lines = merged.map(({ nodes, entry }) =>
    asJson ? JSON.stringify({ nodes, ...entry }) : `${nodes.join(',')}: ${entryText(entry)}`,
  );
  if (lines.length > 0) printLines(lines);
  return worstExit(answers);
}
