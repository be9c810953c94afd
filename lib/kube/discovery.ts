/** Asks an API server which resources it has, where it refuses a list of objects that only a CustomResourceDefinition adds. */
import { isMapping, itemsOf, member } from '../policy/manifest/field.ts';
import type { Client } from './client.ts';
import { garbage, type KubeError } from './error.ts';
import type { Resource } from './object.ts';

/** `/apis/policy.networking.k8s.io/v1alpha2/…` → group and version. */
const groupVersionOf = ({ path }: Pick<Resource<never>, 'path'>): string => path.split('/').slice(2, 4).join('/');

const fieldOf = (value: unknown) => ({ value, path: '', report: () => undefined });

/** The texts under `key` of what is listed under `list`. */
const named = (value: unknown, list: string, key: string): readonly unknown[] =>
  (itemsOf(member(fieldOf(value), list)) ?? []).map(item => member(item, key).value);

/** A server that does not know a resource says 404, but asks first who may see it: 403. */
export const mayBeAbsent = (resource: Pick<Resource<never>, 'isCustom'>, { status }: KubeError): boolean =>
  resource.isCustom === true && (status === 404 || status === 403);

/**
 * The version of a resource that the server has, the first of these; undefined where it says that it has none. A 404 alone is
 * no answer of the server's: proxies in between give it, too.
 * @throws {KubeError} neither yes nor no
 */
export async function servedVersion<R extends Pick<Resource<never>, 'name' | 'path'>>(
  client: Client,
  versions: readonly R[],
  signal: AbortSignal,
): Promise<R | undefined> {
  const list = async (path: string, kind: string): Promise<unknown> => {
    const action = `ask ${client.server} what it has under ${path}`;
    const value = await client.json({ action, path, signal });
    if (!isMapping(value) || value['kind'] !== kind) throw garbage(action, `an answer that is no ${kind}`);
    return value;
  };
  const groups = await list('/apis', 'APIGroupList');
  const known = (itemsOf(member(fieldOf(groups), 'groups')) ?? []).flatMap(group =>
    named(group.value, 'versions', 'groupVersion'),
  );
  for (const version of versions) {
    const wanted = groupVersionOf(version);
    if (!known.includes(wanted)) continue;
    const resources = named(await list(`/apis/${wanted}`, 'APIResourceList'), 'resources', 'name');
    if (resources.includes(version.name)) return version;
  }
  return undefined;
}
