import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Options } from 'yargs';
import manifest from '../../package.json' with { type: 'json' };
import type { KubernetesOptions } from '../controller/controller.ts';
import type { FlowSettings } from '../controller/flow-part.ts';
import type { WorkerOptions } from '../controller/worker.ts';
import { type Filter, FilterError, parseFilter } from '../flows/filter.ts';
import { networkOf, type Prefix, parsePrefix } from '../ip/address.ts';
import { logLevels, logToStderr } from '../rpc/log.ts';
import { command, exit, mtuOf, normalPath, UsageError, wholeNumber } from './command.ts';
import { flowsPlace, METRICS, metricsPlace } from './places.ts';

const folder = (describe: string, fallback: string) =>
  ({ type: 'string', describe, default: fallback, requiresArg: true, coerce: normalPath }) as const;

/** Milliseconds after the start; by then what follows it has been done as well, and calls that waited have been served. */
const REST = 5_000;

/** Resolves at the first signal that asks for an end. SIGHUP rings; SIGUSR1 is for programs that have files to rotate. */
const untilAsked = (ring: () => void): Promise<void> =>
  new Promise(resolve => {
    process.on('SIGUSR1', () => {}).on('SIGHUP', ring);
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve());
  });

/** @throws UsageError where it is empty, as where a script's variable is not set */
function nodeName(text: string): string {
  if (text !== '') return text;
  throw new UsageError('Cannot use an empty --node: give the name that the API has, or leave the option out');
}

/** The name by which kubelet registers a node that is given none. */
const ownName = (): string => process.env['NODE_NAME'] || hostname().trim().toLowerCase();

const options = {
  kubernetes: {
    type: 'boolean',
    default: true,
    describe: 'Listen to the Kubernetes API; --no-kubernetes: policies come from a folder',
  },
  kubeconfig: {
    type: 'string',
    requiresArg: true,
    coerce: normalPath,
    describe: 'How to reach the API; without it: the service account that is mounted into a pod',
  },
  context: {
    type: 'string',
    requiresArg: true,
    describe: "Of the kubeconfig; its own current one where it isn't given",
  },
  node: {
    type: 'string',
    requiresArg: true,
    coerce: nodeName,
    describe: "This node's name in the API; else $NODE_NAME, else the hostname in small letters",
  },
  'run-dir': folder('Where the socket and the node\'s lock are: "runDir" of the networks served', '/run/tollgate'),
  'state-dir': folder('"stateDir" of the networks served', '/var/lib/tollgate'),
  policies: folder(
    'Folder of policy manifests, for --no-kubernetes: "policies" of the networks served',
    '/etc/tollgate/policies',
  ),
  established: {
    choices: ['cut', 'keep'],
    default: 'cut',
    describe: 'What becomes of connections that are no longer allowed',
  },
  'nflog-group': {
    type: 'number',
    coerce: wholeNumber('nflog-group', 0, 65_535),
    default: 7467,
    requiresArg: true,
    describe: 'Where denied packets are logged',
  },
  'enforce-egress-to-node': {
    type: 'boolean',
    default: false,
    describe: "Whether egress policy holds towards pods' own node",
  },
  metrics: {
    type: 'string',
    requiresArg: true,
    defaultDescription: `${METRICS}; with --no-kubernetes: off`,
    describe: 'Address and port for Prometheus and probes (/metrics, /livez, /healthz, /readyz); off: none',
  },
  flows: {
    type: 'boolean',
    default: false,
    describe: 'Record flows of pods, both verdicts, with the policies that decided: for `tollgate flows` and metrics',
  },
  'flow-accounting': {
    type: 'boolean',
    default: false,
    describe:
      "With --flows: have conntrack count bytes and keep times, for all of the node's packets, while the agent runs",
  },
  'flow-log': {
    type: 'string',
    requiresArg: true,
    coerce: normalPath,
    describe:
      'With --flows: a file that gets a line of JSON for each flow that ended or was denied; 5 files of 64 MiB at most',
  },
  'flow-log-filter': {
    type: 'string',
    default: '',
    requiresArg: true,
    describe: 'Which flows the file gets: "verdict:denied ns:shop", as for `tollgate flows`',
  },
  ui: {
    type: 'string',
    requiresArg: true,
    describe:
      'With --flows: address and port of the page of flows, 127.0.0.1:9468, say; `tollgate flows --open` shows the link',
  },
  'log-level': {
    choices: logLevels,
    default: 'info',
    describe:
      'The least that is worth a line on stderr; info: each ADD, DEL and GC, and each turn of STATUS; debug: each STATUS and CHECK, too',
  },
  'conf-dir': {
    type: 'string',
    requiresArg: true,
    coerce: normalPath,
    describe:
      'Where to write the conflist once pods can be plugged in: /etc/cni/net.d, say; without it, none is written',
  },
  'cluster-cidr': {
    type: 'string',
    requiresArg: true,
    describe:
      "Where the cluster's pods are, as kube-controller-manager has it (10.244.0.0/16,fd44::/48): no pod CIDR of a node outside of it is routed",
  },
  'cache-dir': folder("libcni's cache, which tells of pods of another network", '/var/lib/cni'),
  'take-over': {
    type: 'boolean',
    default: false,
    describe: "Whether other networks' files in --conf-dir give way (they are renamed); else ours is not written",
  },
  'remove-conflist-on-exit': {
    type: 'boolean',
    default: false,
    describe: 'Whether the node shall have no network when the agent ends: not for an ordinary restart',
  },
  'ip-masq': { type: 'boolean', default: true, describe: '"ipMasq" of the conflist' },
  mtu: { type: 'number', coerce: mtuOf, requiresArg: true, describe: '"mtu" of the conflist' },
  'own-table': {
    type: 'boolean',
    default: true,
    describe: "Hold our nftables table as its owner (Linux 6.9): no other program's `flush ruleset` opens the gates",
  },
} as const satisfies Record<string, Options>;

/** @throws UsageError something in the list is no prefix */
function clusterCidrsOf(text: string): readonly Prefix[] {
  return text.split(',').map(part => {
    const prefix = parsePrefix(part.trim());
    if (prefix) return networkOf(prefix);
    throw new UsageError(
      `Cannot use ${JSON.stringify(part)} in --cluster-cidr: give prefixes, as in 10.244.0.0/16,fd44::/48`,
    );
  });
}

/** @throws UsageError where the words are no filter */
function flowFilterOf(words: string): Filter {
  try {
    return parseFilter(words);
  } catch (error) {
    throw error instanceof FilterError ? new UsageError(error.message) : error;
  }
}

/** Undefined where nothing is to be recorded. @throws UsageError where the page's address is none, or that of metrics */
async function flowSettingsOf(given: {
  readonly flows: boolean;
  readonly flowAccounting: boolean;
  readonly flowLog: string | undefined;
  readonly flowLogFilter: string;
  readonly ui: string | undefined;
  readonly metrics: string;
  readonly runDir: string;
  readonly nflogGroup: number;
}): Promise<FlowSettings | undefined> {
  const { nflogGroup, flowAccounting: accounting, flowLog: path } = given;
  if (!given.flows && !accounting && given.ui === undefined && path === undefined) return undefined;
  const file = path === undefined ? {} : { file: { path, filter: flowFilterOf(given.flowLogFilter) } };
  const settings = { nflogGroup, accounting, ...file };
  if (given.ui === undefined) return settings;
  const place = await flowsPlace(given.ui, given.metrics);
  const { readPage } = await import('./page.ts');
  return { ...settings, ui: { ...place, page: readPage('flows'), token: join(given.runDir, 'flows.token') } };
}

/** As on the command line, or as kubelet mounts it into a pod. */
async function clientFor(kubeconfig: string | undefined, context: string | undefined) {
  const { createClient } = await import('../kube/client.ts');
  if (kubeconfig !== undefined) {
    const { kubeconfigCredentials } = await import('../kube/kubeconfig.ts');
    return createClient(kubeconfigCredentials(kubeconfig, context));
  }
  const { inClusterCredentials } = await import('../kube/credentials.ts');
  return createClient(inClusterCredentials(process.env));
}

/** Serves a node without Kubernetes until a signal ends it. */
async function runWorker(options: WorkerOptions): Promise<void> {
  const { startWorker } = await import('../controller/worker.ts');
  const { tierUpEarly } = await import('../controller/tier-up.ts');
  let ring = (): void => undefined;
  // Before calls are served: a process that sees the socket may send a signal at once.
  const asked = untilAsked(() => ring());
  const worker = await startWorker(options);
  ring = worker.ring;
  tierUpEarly();
  await asked;
  await worker.stop();
}

/** Serves a node of Kubernetes until a signal ends it. */
async function runAgent(options: KubernetesOptions): Promise<void> {
  const { KubernetesAgent } = await import('../controller/controller.ts');
  const { limitHeap, trimMemory } = await import('../controller/memory.ts');
  limitHeap();
  const kubernetes = new KubernetesAgent(options);
  const asked = untilAsked(() => kubernetes.ring());
  let resting: NodeJS.Timeout | undefined;
  try {
    await Promise.race([kubernetes.start(), asked]);
    resting = setTimeout(trimMemory, REST);
    await asked;
  } finally {
    clearTimeout(resting);
    await kubernetes.stop();
  }
}

export const agent = command(
  'agent',
  'Judge the pods of this node by the Kubernetes API, and serve its CNI calls from one warm process',
  parser =>
    parser
      .options(options)
      .example('$0 agent --kubeconfig /etc/kubernetes/tollgate.conf --node node1', 'on a Kubernetes node')
      .example('$0 agent --no-kubernetes', 'for podman, nerdctl and cnitool; see conf/tollgate-agent.service')
      .epilog(
        'Networks with "enforcer": "agent" ("inline" with --no-kubernetes) and these folders hand their calls to it. A call waits as long as it is busy, and 90 seconds at most (CRI-O gives an ADD 2 minutes, kubelet 4). While it is away, ADD waits for it for "agentGrace" seconds, 90 at most, and then fails with code 11 ("agent"), or is carried out by the caller ("inline"); everything else is carried out by the caller. SIGTERM: finishes the calls under way; rules stay in place. SIGHUP: looks at everything now.',
      ),
  async given => {
    const log = logToStderr(given.logLevel);
    const { runDir, stateDir, policies, established, kubeconfig, context, nflogGroup, enforceEgressToNode } = given;
    const metrics = given.metrics ?? (given.kubernetes ? METRICS : 'off');
    const place = await metricsPlace(metrics);
    const flows = await flowSettingsOf({ ...given, metrics });
    const common = {
      ...(place ? { metrics: place } : {}),
      ...(flows ? { flows } : {}),
      ...{ release: manifest.version, runDir, established, log },
    };
    if (!given.kubernetes) {
      await runWorker({ ...common, owner: { enforcer: 'inline', stateDir, policies } });
      return exit.yes;
    }
    using client = await clientFor(kubeconfig, context);
    const owner = { enforcer: 'agent', stateDir, policies };
    const { confDir, cacheDir, takeOver, removeConflistOnExit: removeOnExit, ipMasq, mtu } = given;
    const unset = mtu === undefined ? {} : { mtu };
    const settings = { owner, runDir, ipMasq, nflogGroup, enforceEgressToNode, established, ...unset };
    await runAgent({
      ...common,
      client,
      owner,
      settings: { judge: 'agent', nflogGroup, enforceEgressToNode },
      ...(given.clusterCidr === undefined ? {} : { clusterCidrs: clusterCidrsOf(given.clusterCidr) }),
      ...(confDir === undefined ? {} : { conflist: { confDir, cacheDir, takeOver, removeOnExit, settings } }),
      ownTable: given.ownTable,
      node: given.node ?? ownName(),
    });
    return exit.yes;
  },
);
