/** The cluster as kubectl reaches it: no credentials of our own, and every way in that an admin has. */
import { PATH, type ProgramEnd, runProgram } from '../program.ts';

/** Milliseconds: a large log through an API server far away. */
const TIMEOUT = 300_000;

/** How kubectl finds the cluster, as its own flags and environment say it, and where the DaemonSet is. */
export interface KubectlTarget {
  readonly namespace: string;
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
}

export function flagsOf({ kubeconfig, context }: KubectlTarget): readonly string[] {
  return [
    ...(kubeconfig === undefined ? [] : [`--kubeconfig=${kubeconfig}`]),
    ...(context === undefined ? [] : [`--context=${context}`]),
  ];
}

export interface KubectlOptions {
  /** Its stdin. */
  readonly input?: string;
  /** Exit codes that are no failure. */
  readonly fine?: readonly number[];
}

/** @throws Error with what kubectl says, where it fails or is not there */
export async function kubectl(
  cluster: KubectlTarget,
  args: readonly string[],
  { input = '', fine = [0] }: KubectlOptions = {},
): Promise<Buffer> {
  let ended: ProgramEnd;
  try {
    ended = await runProgram('kubectl', [...flagsOf(cluster), ...args], {
      ...{ timeout: TIMEOUT, input },
      env: { PATH, ...process.env },
    });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(`Cannot run kubectl: ${why}; install it, and have it reach the cluster`);
  }
  if (ended.exit !== null && fine.includes(ended.exit)) return ended.stdout;
  throw new Error(`Cannot do kubectl ${args.join(' ')}: ${ended.stderr.trim() || `exit code ${ended.exit}`}`);
}

export interface AgentPod {
  readonly name: string;
  readonly node: string;
  readonly isReady: boolean;
}

interface PodList {
  readonly items: readonly {
    readonly metadata: { readonly name: string };
    readonly spec: { readonly nodeName?: string };
    readonly status: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
  }[];
}

/** The DaemonSet's pods, by node. @throws Error where kubectl fails */
export async function agentPods(cluster: KubectlTarget): Promise<readonly AgentPod[]> {
  const args = ['--namespace', cluster.namespace, 'get', 'pods', '--selector=app.kubernetes.io/name=tollgate'];
  const { items } = JSON.parse((await kubectl(cluster, [...args, '--output=json'])).toString()) as PodList;
  return items
    .map(({ metadata, spec, status }) => ({
      name: metadata.name,
      node: spec.nodeName ?? 'of-no-node',
      isReady: status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') ?? false,
    }))
    .sort((a, b) => (a.node < b.node ? -1 : 1));
}
