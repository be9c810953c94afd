/** CustomResourceDefinitions of cluster policies, as users get them. */
import { execFileSync } from 'node:child_process';
import { parseAllDocuments } from 'yaml';
import { tollgate } from '../support/places.ts';
import { until } from '../support/until.ts';
import { isTrue, type KubeObject, pathOf } from './api.ts';
import type { KubeCluster } from './cluster.ts';
import type { KubeNode } from './node.ts';
import { release } from './release.ts';

interface Definition extends KubeObject {
  readonly spec: { readonly group: string; readonly versions: readonly { readonly name: string }[] };
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

export function definitions(): readonly KubeObject[] {
  const words = ['install', '--kubernetes', '--with-crds', ...(release.hasCel ? [] : ['--no-cel'])];
  const text = execFileSync(tollgate, words, { encoding: 'utf8' });
  return parseAllDocuments(text)
    .map(document => document.toJS() as KubeObject)
    .filter(({ kind }) => kind === 'CustomResourceDefinition');
}

/** What the API server says that it serves of a version. */
interface Resources {
  readonly resources: readonly { readonly name: string }[];
}
function groupOf(definition: KubeObject): string {
  const { group, versions } = (definition as Definition).spec;
  return `/apis/${group}/${versions[0]!.name}`;
}

interface AgentStatus {
  readonly watches: readonly { readonly resource: string; readonly isAbsent?: boolean }[];
}

async function isHeard({ host }: KubeNode): Promise<boolean> {
  const { exit, stdout, stderr } = await host.run([tollgate, 'status', '-o', 'json']);
  // 1: it is not ready, and says so.
  if (exit !== 0 && exit !== 1) throw new Error(`Cannot ask the agent: exit ${exit}: ${stderr}`);
  const { watches } = JSON.parse(stdout) as AgentStatus;
  return watches.some(({ resource, isAbsent }) => resource === 'clusternetworkpolicies' && isAbsent !== true);
}

/** Resolves once the server serves them, and every agent has heard it. @returns milliseconds from the one to the other */
export async function define(cluster: KubeCluster, installed: readonly KubeObject[]): Promise<number> {
  for (const definition of installed) {
    await cluster.api.apply(definition);
    await cluster.until<Definition>(pathOf(definition), 'established', ({ status }) =>
      isTrue(status?.conditions, 'Established'),
    );
    await cluster.until<Resources>(groupOf(definition), `serving ${definition.metadata.name}`, ({ resources }) =>
      resources.some(({ name }) => definition.metadata.name.startsWith(`${name}.`)),
    );
  }
  const established = performance.now();
  for (const node of cluster.nodes.values()) await until(`${node.name} to hear them`, () => isHeard(node));
  return performance.now() - established;
}

async function hasTiers({ host }: KubeNode): Promise<boolean> {
  const { exit, stderr } = await host.run(['nft', 'list', 'chain', 'inet', 'tollgate', 'one-moment']);
  if (exit !== 0 && !stderr.includes('No such file or directory')) throw new Error(`Cannot list the chain: ${stderr}`);
  return exit === 0;
}

/** Takes them away; resolves once no agent's table has the chains of tiers any more. */
export async function undefine(cluster: KubeCluster, installed: readonly KubeObject[]): Promise<void> {
  await Promise.all(installed.map(async definition => await cluster.api.delete(definition)));
  for (const node of cluster.nodes.values())
    await until(`${node.name} to forget them`, async () => !(await hasTiers(node)));
  for (const definition of installed)
    await until(
      `${definition.metadata.name} to be gone`,
      async () => (await cluster.api.get(pathOf(definition))) === undefined,
    );
}
