/** `kubectl tollgate`: the executable under the name kubectl-tollgate, on an admin's machine. */
import yargs, { type Argv, type Options } from 'yargs';
import manifest from '../../../package.json' with { type: 'json' };
import { type Exit, exit, printPainted, UsageError, warn, wholeNumber } from '../command.ts';
import { ClusterTest } from '../connectivity/cluster-test.ts';
import { conclude, formatOption, outcomeLine, type ReportFormat } from '../connectivity/report.ts';
import { undoneOnSignal } from '../connectivity/undone-on-signal.ts';
import { commandsHere, refuseTwice, unknownCommand } from '../mistyped.ts';
import { runOwnAttached } from '../program.ts';
import { watchStdout } from '../stdout.ts';
import { withoutUnaskedHelp } from '../unasked-help.ts';
import { followFlowsOfNodes, isFlowList, isFollowed, listFlowsOfNodes } from './flows-of-nodes.ts';
import { type AgentPod, agentPods, type KubectlTarget, kubectl } from './kubectl.ts';
import { onNodes } from './on-nodes.ts';

const SCRIPT_NAME = 'kubectl tollgate';

interface Given extends KubectlTarget {
  /** Empty: all. */
  readonly nodes: readonly string[];
  /** Arguments after the command's name. */
  readonly rest: readonly string[];
}

const onEachNode: Readonly<Record<string, string>> = {
  status: 'What the agents know, what they wait for, and how old that is',
  pods: 'List the pods that are plugged in, node by node',
  verify: 'Hold each node’s kernel against what it should hold',
  flows: 'Show who talks to whom, of all nodes as one list; --follow goes on',
  gc: 'Take away what dead pods left behind',
};

/** @throws UsageError */
function refuseNodes(nodes: readonly string[], why: string): void {
  if (nodes.length > 0) throw new UsageError(`Cannot use --node here: ${why}`);
}

/** Kinds that policy is judged by; a cluster may lack the last ones. */
const kinds = ['namespaces', 'pods', 'nodes', 'networkpolicies'];
const clusterKinds = ['clusternetworkpolicies', 'adminnetworkpolicies', 'baselineadminnetworkpolicies'].map(
  kind => `${kind}.policy.networking.k8s.io`,
);

/** @throws Error where no pod of the DaemonSet is found, or none on one of these nodes */
async function podsOn(nodes: readonly string[], target: KubectlTarget): Promise<readonly AgentPod[]> {
  const pods = await agentPods(target);
  if (pods.length === 0)
    throw new Error(
      `Cannot ask any node: no pod in namespace ${target.namespace} has the label app.kubernetes.io/name=tollgate; name its namespace with --daemonset-namespace`,
    );
  const without = nodes.find(node => pods.every(pod => pod.node !== node));
  if (without !== undefined)
    throw new Error(`Cannot ask node ${without}: tollgate runs on ${pods.map(({ node }) => node).join(', ')}`);
  return nodes.length === 0 ? pods : pods.filter(({ node }) => nodes.includes(node));
}

/** @throws Error as `podsOn` does */
async function askNodes(name: string, { nodes, rest, ...target }: Given): Promise<Exit> {
  const asked = await podsOn(nodes, target);
  const isEndless = name === 'flows' && isFollowed(rest);
  if (name === 'flows' && isFlowList(rest))
    return isEndless ? followFlowsOfNodes(asked, target, rest) : listFlowsOfNodes(asked, target, rest);
  return onNodes(asked, target, [name, ...rest], isEndless);
}

async function itemsOf(target: KubectlTarget, kind: string): Promise<readonly unknown[]> {
  const text = await kubectl(target, ['get', kind, '--all-namespaces', '--output=json']);
  return (JSON.parse(text.toString()) as { readonly items: readonly unknown[] }).items;
}

/** Undefined kinds are none: the API server says that it has no such resource. */
async function itemsIfKnown(target: KubectlTarget, kind: string): Promise<readonly unknown[]> {
  try {
    return await itemsOf(target, kind);
  } catch (error) {
    if (error instanceof Error && /doesn't have a resource type/.test(error.message)) return [];
    throw error;
  }
}

/** Judged here, by the cluster's objects: no node is asked. */
async function askPolicies({ rest, nodes, ...target }: Given): Promise<Exit> {
  refuseNodes(nodes, 'policies are judged by the cluster’s objects');
  const found = await Promise.all([
    ...kinds.map(kind => itemsOf(target, kind)),
    ...clusterKinds.map(kind => itemsIfKnown(target, kind)),
  ]);
  const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items: found.flat() });
  // A diff is from the cluster to the files that are named.
  const option = rest[0] === 'diff' ? '--base' : '-f';
  return (await runOwnAttached(['policy', ...rest, option, '-'], list)) as Exit;
}

const sysdump = async ({ rest, kubeconfig, context, namespace, nodes }: Given): Promise<number> => {
  refuseNodes(nodes, 'the archive is of the whole cluster');
  return runOwnAttached([
    ...['sysdump', '--cluster', '--namespace', namespace, ...rest],
    ...(kubeconfig === undefined ? [] : ['--kubeconfig', kubeconfig]),
    ...(context === undefined ? [] : ['--context', context]),
  ]);
};

const connectivityOptions = {
  'host-port': {
    type: 'number',
    coerce: wholeNumber('host-port', 1, 65_535),
    default: 29467,
    requiresArg: true,
    describe: 'A free port of the nodes',
  },
  pause: { type: 'boolean', default: false, describe: 'Wait for Enter once the pods are ready' },
  ...formatOption,
} as const;

/** `connectivity test`, as on a node. @throws UsageError */
async function connectivity({ rest, nodes, ...target }: Given, parsed: Parsed): Promise<Exit> {
  refuseNodes(nodes, 'the pods are made on two nodes that are ready');
  const [what, more] = rest;
  if (what !== 'test') throw new UsageError('What to do? kubectl tollgate connectivity test');
  if (more !== undefined) throw new UsageError(unknownCommand(more, [], []));
  const format = parsed['output'] as ReportFormat;
  const [hostPort, isPaused] = [parsed['host-port'] as number, parsed['pause'] as boolean];
  await using test = new ClusterTest({ ...target, hostPort, isPaused });
  using _signals = undoneOnSignal(test);
  const result = await test.run(outcome => {
    if (format === 'text') printPainted(outcomeLine(outcome));
  });
  return conclude(result, format);
}

type Parsed = Readonly<Record<string, unknown>> & { readonly _: readonly (string | number)[] };

const givenOf = (parsed: Parsed): Given => ({
  kubeconfig: parsed['kubeconfig'] as string | undefined,
  context: parsed['context'] as string | undefined,
  namespace: parsed['daemonset-namespace'] as string,
  nodes: (parsed['node'] ?? []) as readonly string[],
  rest: parsed._.slice(1).map(String),
});

/** The command line without its commands. What is unknown here goes to the command on a node. */
function parserOf(args: readonly string[]): Argv {
  const parser: Argv = yargs([...args])
    .options({
      kubeconfig: { type: 'string', requiresArg: true, describe: 'As kubectl has it' },
      context: { type: 'string', requiresArg: true, describe: 'As kubectl has it' },
      'daemonset-namespace': {
        type: 'string',
        default: 'kube-system',
        requiresArg: true,
        describe: 'Where the DaemonSet is',
      },
      node: {
        type: 'string',
        array: true,
        requiresArg: true,
        describe: 'Of this node only, where nodes are asked; may be given again',
      },
    })
    .parserConfiguration({ 'unknown-options-as-args': true, 'greedy-arrays': false })
    .strictOptions(false)
    .scriptName(SCRIPT_NAME)
    .usage('$0 <command>\n\nAsks the nodes of a cluster, by kubectl; what follows a command goes to it as on a node.')
    .locale('en')
    .version(manifest.version)
    .help()
    .demandCommand(1, 'What to do? See kubectl tollgate --help')
    .example('$0 status', 'of all nodes')
    .example('$0 verify --node n1 --node n2 -o json', 'of two')
    .example('$0 policy explain --from shop/web --to shop/db --port 5432/TCP', 'by the cluster’s own objects')
    .example('$0 policy diff -f new.yaml', 'what it would open and close')
    .example('$0 flows --follow verdict:denied', 'of all nodes, as they come')
    .epilog('Exit codes: 0 yes, or fine; 1 no; 2 wrong usage; 3 it failed: the worst of all nodes.')
    .check((given, aliases) => refuseTwice(given, aliases, parser), true)
    .exitProcess(false)
    .fail((message, error: Error | undefined) => {
      throw error ?? new UsageError(message);
    });
  // Into a pipe or a file, a line is a line.
  return withoutUnaskedHelp(parser.wrap(process.stdout.isTTY ? Math.min(100, parser.terminalWidth()) : null));
}

interface PluginCommand {
  readonly name: string;
  readonly summary: string;
  readonly run: (given: Given, parsed: Parsed) => Promise<number>;
  /** Of its own; what else is typed goes to the command of that name on a node, or here. */
  readonly options?: Readonly<Record<string, Options>>;
}

const commands: readonly PluginCommand[] = [
  ...Object.entries(onEachNode).map(([name, summary]) => ({
    name,
    summary,
    run: (given: Given) => askNodes(name, given),
  })),
  {
    name: 'policy',
    summary: 'lint, explain, matrix, diff and list, judged by the cluster’s objects',
    run: askPolicies,
  },
  {
    name: 'connectivity',
    summary: 'Make pods of our own on two nodes, let them talk, and say what is likely wrong',
    run: connectivity,
    options: connectivityOptions,
  },
  { name: 'sysdump', summary: 'Write one archive of the cluster and all of its nodes', run: sysdump },
];

/** The help of a command that a node, or this program under its other name, carries out; in words that may be typed here. */
async function helpAsOnNode(words: readonly string[]): Promise<Exit> {
  const { main: onNode } = await import('../main.ts');
  return await onNode([...words.filter(word => !word.startsWith('-')), '--help'], SCRIPT_NAME);
}

/** @throws UsageError where the words are no command's */
async function runCommand(args: readonly string[]): Promise<Exit> {
  const parser = parserOf(args);
  let how: Exit | undefined;
  for (const { name, summary, run, options } of commands)
    parser.command(
      name,
      summary,
      inner => (options ? inner.options(options) : inner.epilog('What else may follow the command, as on a node:')),
      async given => {
        const parsed = given as unknown as Parsed;
        how = (await run(givenOf(parsed), parsed)) as Exit;
      },
    );
  const { _: words, help, version } = (await parser.parseAsync()) as Parsed;
  const asked = commands.find(({ name }) => name === words[0]);
  if (help && asked && !asked.options) return await helpAsOnNode(words.map(String));
  if (how !== undefined || help || version) return how ?? exit.yes;
  throw new UsageError(
    unknownCommand(
      String(words[0]),
      commandsHere(parser),
      commands.map(({ name }) => name),
    ),
  );
}

/** @returns the exit code, of those in `exit` */
export async function main(args: readonly string[]): Promise<Exit> {
  watchStdout();
  try {
    return await runCommand(args);
  } catch (error) {
    warn(error instanceof Error ? error.message : String(error));
    return error instanceof UsageError || (error instanceof Error && error.name === 'YError')
      ? exit.usage
      : exit.failed;
  }
}
