/** One of the node's commands on every node that runs the DaemonSet, its answers told apart by node. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { type Exit, exit, print, printJson, warn } from '../command.ts';
import { PATH } from '../program.ts';
import { onceUnheard } from '../stdout.ts';
import { type AgentPod, flagsOf, type KubectlTarget } from './kubectl.ts';

/** Hears what nodes say as they say it. */
export interface NodeEars {
  readonly line: (node: string, line: string) => void;
  /** The node says no more. */
  readonly over: (node: string) => void;
}

export interface NodeAnswer {
  readonly node: string;
  readonly exit: number | null;
  readonly text: string;
}

export const isJson = (args: readonly string[]): boolean => /(^| )(-o|--output)[ =]?json( |$)/.test(args.join(' '));

/** A line of JSON gets its node as a key, another one its name before it. */
function lineOf(node: string, line: string, args: readonly string[]): string {
  if (!isJson(args)) return `${node}: ${line}`;
  try {
    return JSON.stringify({ node, ...(JSON.parse(line) as object) });
  } catch {
    return line;
  }
}

/** @param ears absent: the answer has all lines */
async function ask(
  { name, node }: AgentPod,
  target: KubectlTarget,
  args: readonly string[],
  ears?: NodeEars,
): Promise<NodeAnswer> {
  const exec = ['--namespace', target.namespace, 'exec', name, '--container=agent', '--', 'tollgate', ...args];
  const child = spawn('kubectl', [...flagsOf(target), ...exec], {
    env: { PATH, ...process.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  using _ = onceUnheard(() => child.kill());
  const lines: string[] = [];
  createInterface(child.stdout).on('line', line => {
    if (ears) ears.line(node, line);
    else lines.push(line);
  });
  // kubectl tells the exit code of what it ran by a line of its own.
  createInterface(child.stderr).on('line', line => {
    if (!/^command terminated with exit code \d+$/.test(line)) warn(`${node}: ${line}`);
  });
  const [code] = (await once(child, 'close')) as [number | null];
  ears?.over(node);
  return { node, exit: child.killed ? exit.yes : code, text: lines.join('\n') };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const exits: readonly number[] = Object.values(exit);

/** The answers of all nodes to a command that ends. @throws Error where kubectl cannot be run */
export const askedOfNodes = (
  pods: readonly AgentPod[],
  target: KubectlTarget,
  args: readonly string[],
): Promise<readonly NodeAnswer[]> => Promise.all(pods.map(pod => ask(pod, target, args)));

/** As `askedOfNodes`, where lines are heard as they come. */
export const heardOfNodes = (
  pods: readonly AgentPod[],
  target: KubectlTarget,
  args: readonly string[],
  ears: NodeEars,
): Promise<readonly NodeAnswer[]> => Promise.all(pods.map(pod => ask(pod, target, args, ears)));

export function worstExit(answers: readonly NodeAnswer[]): Exit {
  const worst = Math.max(...answers.map(answer => answer.exit ?? exit.failed));
  return (exits.includes(worst) ? worst : exit.failed) as Exit;
}

/**
 * @param args as typed on the node: `verify -o json`
 * @param isEndless lines are shown as they come, since there is no end of them
 * @returns the worst exit code of all nodes
 * @throws Error where kubectl cannot be run
 */
export async function onNodes(
  pods: readonly AgentPod[],
  target: KubectlTarget,
  args: readonly string[],
  isEndless: boolean,
): Promise<Exit> {
  if (isEndless) {
    const line = (node: string, text: string): void => print(lineOf(node, text, args));
    return worstExit(await heardOfNodes(pods, target, args, { line, over: () => undefined }));
  }
  const answers = await askedOfNodes(pods, target, args);
  if (isJson(args)) printJson(Object.fromEntries(answers.map(({ node, text }) => [node, parsed(text)])));
  else for (const { node, text } of answers) print(`${node}:\n${text.replace(/^/gm, '  ')}`);
  return worstExit(answers);
}
