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
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

export function definitions(): readonly KubeObject[] {
  const words = ['install', '--kubernetes', '--with-crds', ...(release.hasCel ? [] : ['--no-cel'])];
  const text = execFileSync(tollgate, words, { encoding: 'utf8' });
  return parseAllDocuments(text)
    .map(document => document.toJS() as KubeObject)
    .filter(({ kind }) => kind === 'CustomResourceDefinition');
}

interface AgentStatus {
  readonly watches: readonly { readonly resource: string; readonly isAbsent?: boolean }[];
}

async function isHeard({ host }: KubeNode): Promise<boolean> {
  const { stdout } = await host.run([tollgate, 'status', '-o', 'json']);
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
  }
  const established = performance.now();
  for (const node of cluster.nodes.values()) await until(`${node.name} to hear them`, () => isHeard(node), 180_000);
  return performance.now() - established;
}

/** Takes them away; resolves once no agent's table has the chains of tiers any more. */
export async function undefine(cluster: KubeCluster, installed: readonly KubeObject[]): Promise<void> {
  await Promise.all(installed.map(async definition => await cluster.api.delete(definition)));
  const hasTiers = async ({ host }: KubeNode) =>
    (await host.run(['nft', 'list', 'chain', 'inet', 'tollgate', 'one-moment'])).exit === 0;
  for (const node of cluster.nodes.values())
    await until(`${node.name} to forget them`, async () => !(await hasTiers(node)), 180_000);
}
