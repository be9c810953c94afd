/** `kubectl tollgate`: the executable under the name kubectl-tollgate, on an admin's machine. */
import yargs, { type Argv } from 'yargs';
import manifest from '../../../package.json' with { type: 'json' };
import { type Exit, exit, printPainted, UsageError, warn, wholeNumber } from '../command.ts';
import { ClusterTest } from '../connectivity/cluster-test.ts';
import { conclude, formatOption, outcomeLine, type ReportFormat } from '../connectivity/report.ts';
import { undoneOnSignal } from '../connectivity/undone-on-signal.ts';
import { runOwnAttached } from '../program.ts';
import { followFlowsOfNodes, isFlowList, isFollowed, listFlowsOfNodes } from './flows-of-nodes.ts';
import { agentPods, type KubectlTarget, kubectl } from './kubectl.ts';
import { onNodes } from './on-nodes.ts';

interface Given extends KubectlTarget {
  readonly node: string | undefined;
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

/** Kinds that policy is judged by; a cluster may lack the last ones. */
const kinds = ['namespaces', 'pods', 'nodes', 'networkpolicies'];
const clusterKinds = ['clusternetworkpolicies', 'adminnetworkpolicies', 'baselineadminnetworkpolicies'].map(
  kind => `${kind}.policy.networking.k8s.io`,
);

/** @throws Error where no pod of the DaemonSet is found, or none on that node */
async function askNodes(name: string, { node, rest, ...target }: Given): Promise<Exit> {
  const pods = await agentPods(target);
  const asked = node === undefined ? pods : pods.filter(pod => pod.node === node);
  if (asked.length === 0)
    throw new Error(
      node === undefined
        ? `Cannot ask any node: no pod in namespace ${target.namespace} has the label app.kubernetes.io/name=tollgate; name its namespace with --daemonset-namespace`
        : `Cannot ask node ${node}: tollgate runs on ${pods.map(pod => pod.node).join(', ') || 'none'}`,
    );
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
async function askPolicies({ rest, node: _, ...target }: Given): Promise<Exit> {
  const found = await Promise.all([
    ...kinds.map(kind => itemsOf(target, kind)),
    ...clusterKinds.map(kind => itemsIfKnown(target, kind)),
  ]);
  const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items: found.flat() });
  // A diff is from the cluster to the files that are named.
  const option = rest[0] === 'diff' ? '--base' : '-f';
  return (await runOwnAttached(['policy', ...rest, option, '-'], list)) as Exit;
}

const sysdump = ({ rest, kubeconfig, context, namespace }: Given): Promise<number> =>
  runOwnAttached([
    ...['sysdump', '--cluster', '--namespace', namespace, ...rest],
    ...(kubeconfig === undefined ? [] : ['--kubeconfig', kubeconfig]),
    ...(context === undefined ? [] : ['--context', context]),
  ]);

/** `connectivity test`, as on a node. @throws UsageError */
async function connectivity({ rest, node: _, ...target }: Given): Promise<Exit> {
  const asked = await yargs([...rest])
    .options({
      'host-port': {
        type: 'number',
        coerce: wholeNumber('host-port', 1, 65_535),
        default: 29467,
        requiresArg: true,
        describe: 'A free port of the nodes',
      },
      pause: { type: 'boolean', default: false, describe: 'Wait for Enter once the pods are ready' },
      ...formatOption,
    })
    .strictOptions()
    .parseAsync();
  if (String(asked._[0]) !== 'test') throw new UsageError('What to do? kubectl tollgate connectivity test');
  const format = asked.output as ReportFormat;
  await using test = new ClusterTest({ ...target, hostPort: asked['host-port'], isPaused: asked.pause });
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
  node: parsed['node'] as string | undefined,
  rest: parsed._.slice(1).map(String),
});

/** The command line without its commands. What is unknown here goes to the command on a node. */
function parserOf(args: readonly string[]): Argv {
  const parser = yargs([...args])
    .options({
      kubeconfig: { type: 'string', requiresArg: true, describe: 'As kubectl has it' },
      context: { type: 'string', requiresArg: true, describe: 'As kubectl has it' },
      'daemonset-namespace': {
        type: 'string',
        default: 'kube-system',
        requiresArg: true,
        describe: 'Where the DaemonSet is',
      },
      node: { type: 'string', requiresArg: true, describe: 'Of this node only' },
    })
    .parserConfiguration({ 'unknown-options-as-args': true })
    .strictOptions(false)
    .scriptName('kubectl tollgate')
    .usage('$0 <command>\n\nAsks the nodes of a cluster, by kubectl; what follows a command goes to it as on a node.')
    .locale('en')
    .version(manifest.version)
    .help()
    .demandCommand(1, 'What to do? See kubectl tollgate --help')
    .example('$0 status', 'of all nodes')
    .example('$0 verify --node n1 -o json', 'of one')
    .example('$0 policy explain --from shop/web --to shop/db --port 5432/TCP', 'by the cluster’s own objects')
    .example('$0 policy diff -f new.yaml', 'what it would open and close')
    .example('$0 flows --follow verdict:denied', 'of all nodes, as they come')
    .epilog('Exit codes: 0 yes, or fine; 1 no; 2 wrong usage; 3 it failed: the worst of all nodes.')
    .exitProcess(false)
    .fail((message, error: Error | undefined) => {
      throw error ?? new UsageError(message);
    });
  // Into a pipe or a file, a line is a line.
  return parser.wrap(process.stdout.isTTY ? Math.min(100, parser.terminalWidth()) : null);
}

/** @returns the exit code, of those in `exit` */
export async function main(args: readonly string[]): Promise<Exit> {
  let how: Exit = exit.yes;
  const parser = parserOf(args);
  const add = (name: string, summary: string, run: (given: Given) => Promise<number>) =>
    parser.command(
      name,
      summary,
      inner => inner,
      async parsed => {
        how = (await run(givenOf(parsed as unknown as Parsed))) as Exit;
      },
    );
  for (const [name, summary] of Object.entries(onEachNode)) add(name, summary, given => askNodes(name, given));
  add('policy', 'lint, explain, matrix, diff and list, judged by the cluster’s objects', askPolicies);
  add('connectivity', 'Make pods of our own on two nodes, let them talk, and say what is likely wrong', connectivity);
  add('sysdump', 'Write one archive of the cluster and all of its nodes', sysdump);
  try {
    await parser.parseAsync();
    return how;
  } catch (error) {
    warn(error instanceof Error ? error.message : String(error));
    return error instanceof UsageError || (error instanceof Error && error.name === 'YError')
      ? exit.usage
      : exit.failed;
  }
}
