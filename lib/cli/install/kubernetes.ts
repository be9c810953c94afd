/**
 * `tollgate install --kubernetes`: the manifests of conf/kubernetes, with what a person says changed in them, on stdout. With
 * nothing said they are those files to the letter.
 */

import type { Document } from 'yaml';
import type { Options } from 'yargs';
import { mtuOf, normalPath, UsageError } from '../command.ts';
import { readConf } from '../conf.ts';
import { flowsPlace, METRICS } from '../places.ts';
import { clusterPolicyDefinition } from './crds.ts';

const files = ['kubernetes/serviceaccount.yaml', 'kubernetes/rbac.yaml', 'kubernetes/daemonset.yaml'] as const;

export const kubernetesOptions = {
  kubernetes: {
    type: 'boolean',
    default: false,
    describe:
      'Write nothing: print the manifests that run the agent on every node of a cluster, for kubectl apply -f -',
  },
  image: {
    type: 'string',
    requiresArg: true,
    describe: 'With --kubernetes: where nodes pull the image from; `npm run release` makes it',
  },
  'api-server': {
    type: 'string',
    requiresArg: true,
    describe: 'With --kubernetes: HOST:PORT of the API server, where its service needs a kube-proxy first',
  },
  'state-dir': {
    type: 'string',
    requiresArg: true,
    coerce: normalPath,
    describe: 'With --kubernetes: "stateDir" of the network',
  },
  mtu: {
    type: 'number',
    coerce: mtuOf,
    requiresArg: true,
    describe: "With --kubernetes: of pods' interfaces",
  },
  'ip-masq': {
    type: 'boolean',
    default: true,
    describe: "With --kubernetes: whether pods leave the cluster under their node's address",
  },
  'take-over': {
    type: 'boolean',
    default: false,
    describe: 'With --kubernetes: see tollgate agent --help',
  },
  flows: {
    type: 'boolean',
    default: false,
    describe: 'With --kubernetes: agents record flows, for `kubectl tollgate flows` and metrics',
  },
  'flow-accounting': {
    type: 'boolean',
    default: false,
    describe: 'With --flows: with bytes and times, see tollgate agent --help',
  },
  ui: {
    type: 'string',
    requiresArg: true,
    describe: 'With --flows: address and port of the page of flows on each node, 127.0.0.1:9468, say',
  },
  'with-crds': {
    type: 'boolean',
    default: false,
    describe: 'With --kubernetes: the definition of ClusterNetworkPolicy too, as its project made it',
  },
  cel: {
    type: 'boolean',
    default: true,
    describe: 'With --with-crds: its rules in CEL, which API servers before 1.31 do not know; --no-cel leaves them out',
  },
} as const satisfies Record<string, Options>;

export interface KubernetesGiven {
  readonly image?: string | undefined;
  readonly apiServer?: string | undefined;
  readonly binDir: string;
  readonly confDir: string;
  readonly runDir: string;
  readonly stateDir?: string | undefined;
  readonly mtu?: number | undefined;
  readonly ipMasq: boolean;
  readonly takeOver: boolean;
  readonly flows: boolean;
  readonly flowAccounting: boolean;
  readonly ui?: string | undefined;
  readonly withCrds: boolean;
  readonly cel: boolean;
}

/** Folders that the shipped manifest files name. */
const usual = {
  bin: '/opt/cni/bin',
  conf: '/etc/cni/net.d',
  run: '/run/tollgate',
  state: '/var/lib/tollgate',
} as const;
type Folder = keyof typeof usual;

/** @throws UsageError where it is no address and port */
function apiServerMap(text: string): string {
  const [, host, port] = /^(\[[0-9a-fA-F:.]+\]|[^:[\]/\s]+):([0-9]{1,5})$/.exec(text) ?? [];
  if (host === undefined || Number(port) < 1 || Number(port) > 65535)
    throw new UsageError(
      `Cannot use ${JSON.stringify(text)} as api-server: give HOST:PORT, an IPv6 address in brackets`,
    );
  return `apiVersion: v1
kind: ConfigMap
metadata:
  name: tollgate-api-server
  namespace: kube-system
data:
  TOLLGATE_API_SERVER: https://${host}:${port}
`;
}

const pod = ['spec', 'template', 'spec'] as const;
const containers = [
  [...pod, 'initContainers', 0],
  [...pod, 'containers', 0],
] as const;

type Entry = Readonly<Record<string, unknown>>;
const listAt = (document: Document, path: readonly unknown[]): readonly Entry[] =>
  (document.getIn(path) as { toJSON(): Entry[] } | undefined)?.toJSON() ?? [];

/** In the options of both programs, in the mounts and in the volumes: a folder has one path for all. */
function moveFolder(document: Document, name: Folder, to: string): void {
  const from = usual[name];
  for (const container of containers) {
    const command = listAt(document, [...container, 'command']) as unknown as readonly string[];
    for (const [index, word] of command.entries())
      if (word.endsWith(`=${from}`)) document.setIn([...container, 'command', index], word.slice(0, -from.length) + to);
    for (const [index, mount] of listAt(document, [...container, 'volumeMounts']).entries())
      if (mount['name'] === name) document.setIn([...container, 'volumeMounts', index, 'mountPath'], to);
  }
  for (const [index, volume] of listAt(document, [...pod, 'volumes']).entries())
    if (volume['name'] === name) document.setIn([...pod, 'volumes', index, 'hostPath', 'path'], to);
}

/** Of the agent, beside its folders. */
const optionsOf = ({ mtu, ipMasq, takeOver, flows, flowAccounting, ui }: KubernetesGiven): readonly string[] => [
  ...(mtu === undefined ? [] : [`--mtu=${mtu}`]),
  ...(ipMasq ? [] : ['--no-ip-masq']),
  ...(takeOver ? ['--take-over'] : []),
  ...(flows ? ['--flows'] : []),
  ...(flowAccounting ? ['--flow-accounting'] : []),
  ...(ui === undefined ? [] : [`--ui=${ui}`]),
];

function change(document: Document, given: KubernetesGiven): void {
  const { image, binDir, confDir, runDir, stateDir = usual.state } = given;
  const folders = { bin: binDir, conf: confDir, run: runDir, state: stateDir };
  for (const name of Object.keys(folders) as Folder[])
    if (folders[name] !== usual[name]) moveFolder(document, name, folders[name]);
  if (image !== undefined) for (const container of containers) document.setIn([...container, 'image'], image);
  for (const option of optionsOf(given)) document.addIn([...containers[1], 'command'], option);
}

const isUsual = (given: KubernetesGiven): boolean =>
  given.image === undefined &&
  given.binDir === usual.bin &&
  given.confDir === usual.conf &&
  given.runDir === usual.run &&
  (given.stateDir ?? usual.state) === usual.state &&
  optionsOf(given).length === 0;

/** Options of the manifests alone that were given, as a person types them. */
function ofManifests(given: KubernetesGiven): readonly string[] {
  const { image, apiServer, stateDir, withCrds, cel } = given;
  return [
    ...(image === undefined ? [] : ['--image']),
    ...(apiServer === undefined ? [] : ['--api-server']),
    ...(stateDir === undefined ? [] : ['--state-dir']),
    ...optionsOf(given).map(option => option.split('=', 1)[0]!),
    ...(withCrds ? ['--with-crds'] : []),
    ...(cel ? [] : ['--no-cel']),
  ];
}

/**
 * Refuses to install on this machine where a person meant manifests for a cluster, and forgot to say so.
 * @throws UsageError
 */
export function refuseOptionsOfManifests(given: KubernetesGiven): void {
  const [first] = ofManifests(given);
  if (first !== undefined)
    throw new UsageError(
      `Cannot install on this machine with ${first}, which is for the manifests of a cluster: write --kubernetes too, which prints them, or leave it out`,
    );
}

interface OfMachine {
  readonly force: boolean;
  readonly dropIns: boolean;
  readonly conflist: boolean;
  readonly output: string;
}

/**
 * Refuses what says how to install on this machine, where nothing is installed.
 * @throws UsageError
 */
export function refuseOptionsOfMachine({ force, dropIns, conflist, output }: OfMachine): void {
  const [first] = [
    ...(force ? ['--force'] : []),
    ...(dropIns ? ['--drop-ins'] : []),
    ...(conflist ? [] : ['--no-conflist']),
    ...(output === 'text' ? [] : [`--output ${output}`]),
  ];
  if (first !== undefined)
    throw new UsageError(
      `Cannot print manifests with ${first}, which is for an installation on this machine: leave it out, or --kubernetes`,
    );
}

/** @throws UsageError */
export async function kubernetesManifests(given: KubernetesGiven): Promise<string> {
  const { parseDocument } = await import('yaml');
  for (const folder of [given.binDir, given.confDir, given.runDir, given.stateDir ?? usual.state])
    if (!folder.startsWith('/'))
      throw new UsageError(`Cannot mount ${JSON.stringify(folder)}: give an absolute path of the nodes`);
  if (given.image === '') throw new UsageError('Cannot run an empty --image: name the image, or leave the option out');
  if (given.image !== undefined && !/^[a-zA-Z0-9][a-zA-Z0-9._/:@-]*$/.test(given.image))
    throw new UsageError(
      `Cannot run ${JSON.stringify(given.image)}: name the image as nodes pull it, as in registry.example/tollgate:0.1.0`,
    );
  if (!given.cel && !given.withCrds)
    throw new UsageError('Cannot leave CEL out of a definition that is not printed: --no-cel wants --with-crds');
  if (!given.flows && (given.flowAccounting || given.ui !== undefined))
    throw new UsageError('Cannot tell of flows that no agent records: --flow-accounting and --ui want --flows');
  if (given.ui !== undefined) await flowsPlace(given.ui, METRICS);
  const texts = files.map(name => {
    const text = readConf(name);
    if (isUsual(given) || !name.endsWith('daemonset.yaml')) return text;
    const document = parseDocument(text);
    change(document, given);
    return document.toString({ lineWidth: 0 });
  });
  const definitions = given.withCrds ? [await clusterPolicyDefinition(given.cel)] : [];
  const map = given.apiServer === undefined ? [] : [apiServerMap(given.apiServer)];
  return [...definitions, ...texts, ...map].join('---\n');
}
