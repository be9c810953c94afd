/** Requests for one object, or for those of one namespace. */

import { isMapping, itemsOf, member } from '../policy/manifest/field.ts';
import type { ApiRequest, Client } from './client.ts';
import { garbage, KubeError } from './error.ts';
import { createIntern } from './intern.ts';
import { readObject } from './list.ts';
import {
  type KubeNamespace,
  type KubeNetworkPolicy,
  type KubePod,
  namespaces,
  networkPolicies,
  type Resource,
  readPod,
} from './object.ts';

export interface Limits {
  readonly signal?: AbortSignal;
  /** Milliseconds, until the answer begins and again until it has ended. */
  readonly timeoutMs?: number;
}

/**
 * The pod as etcd has it now, for an ADD that comes before the watch tells of its pod; a finished one too. Undefined
 * where there is none of that name.
 * @throws {KubeError} no such answer: neither yes nor no
 */
export async function getPod(
  client: Client,
  { namespace, name }: { readonly namespace: string; readonly name: string },
  limits: Limits = {},
): Promise<KubePod | undefined> {
  const action = `get pod ${namespace}/${name} of ${client.server}`;
  const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}`;
  try {
    const value = await client.json({ action, path, ...limits });
    const pod = readPod(value, { intern: createIntern(), report: () => undefined });
    if (pod?.namespace === namespace && pod.name === name) return pod;
    throw garbage(action, 'an answer that is not that pod');
  } catch (error) {
    if (error instanceof KubeError && error.status === 404) return undefined;
    throw error;
  }
}

/**
 * The namespace as etcd has it now, for an ADD that comes before the watch tells of its namespace; undefined where there is
 * none of that name. Asked for as a list of one: the agent's role has the verb `list` for namespaces, and not `get`.
 * @throws {KubeError} no such answer: neither yes nor no
 */
export async function findNamespace(
  client: Client,
  name: string,
  limits: Limits = {},
): Promise<KubeNamespace | undefined> {
  const action = `find namespace ${name} of ${client.server}`;
  const query = { fieldSelector: `metadata.name=${name}` };
  const found = await listOf(client, namespaces, 'NamespaceList', { action, path: namespaces.path, query, ...limits });
  return found.find(namespace => namespace.name === name);
}

/**
 * The namespace's NetworkPolicies as etcd has them now, for an ADD that comes before the watch tells of them.
 * @throws {KubeError} no such answer
 */
export async function listPolicies(
  client: Client,
  namespace: string,
  limits: Limits = {},
): Promise<readonly KubeNetworkPolicy[]> {
  const action = `list networkpolicies of namespace ${namespace} of ${client.server}`;
  const { path: all, name } = networkPolicies;
  const path = `${all.slice(0, -name.length)}namespaces/${encodeURIComponent(namespace)}/${name}`;
  return await listOf(client, networkPolicies, 'NetworkPolicyList', { action, path, ...limits });
}

/** The items of a list that is short enough to be read whole. */
async function listOf<T>(client: Client, resource: Resource<T>, kind: string, request: ApiRequest): Promise<T[]> {
  const { action } = request;
  const value = await client.json(request);
  if (!isMapping(value) || value['kind'] !== kind) throw garbage(action, 'an answer that is no list of them');
  const reading = { intern: createIntern(), report: () => undefined };
  const items = itemsOf(member({ value, path: '', report: () => undefined }, 'items')) ?? [];
  return items.map(item => readObject(action, resource, item.value, reading));
}

export interface Condition {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  /** One word in CamelCase. */
  readonly reason: string;
  readonly message: string;
}

/**
 * Sets a condition of the node, and leaves its others alone (a strategic merge patch goes by their type).
 * @param at when it came to be so
 * @throws {KubeError}
 */
export async function setNodeCondition(
  client: Client,
  node: string,
  { condition, at, ...limits }: Limits & { readonly condition: Condition; readonly at: Date },
): Promise<void> {
  const time = at.toISOString().replace(/\.\d+Z$/, 'Z');
  const conditions = [{ ...condition, lastHeartbeatTime: time, lastTransitionTime: time }];
  await client.json({
    action: `set condition ${condition.type} of node ${node} at ${client.server}`,
    method: 'PATCH',
    path: `/api/v1/nodes/${encodeURIComponent(node)}/status`,
    body: { type: 'application/strategic-merge-patch+json', value: { status: { conditions } } },
    ...limits,
  });
}
