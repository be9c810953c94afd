/** The command line on a host of a test's own. */
import assert from 'node:assert/strict';
import { config, type Json, policies, runDir, stateDir, tollgate } from './cni.ts';
import type { Exit, Host, Run } from './host.ts';

export const live = ['--state-dir', stateDir, '--run-dir', runDir, '--policies', policies];

/** `tollgate …` as a person types it, the host's folders named. */
export const type = (host: Host, args: readonly string[], run: Run = {}): Promise<Exit> =>
  host.run([tollgate, ...args, ...live], run);

/** Like `type`, with `-o json`. @returns the JSON value of its standard output */
export async function typeJson<T = Json>(
  host: Host,
  args: readonly string[],
  expected: number,
  run: Run = {},
): Promise<T> {
  const outcome = await type(host, [...args, '-o', 'json'], run);
  assert.equal(outcome.exit, expected, `${args.join(' ')}: exit ${outcome.exit}\n${outcome.stdout}${outcome.stderr}`);
  return JSON.parse(outcome.stdout) as T;
}

/** CNI_ARGS of a pod with these names in Kubernetes. */
export const named = (namespace: string, name: string): string => `K8S_POD_NAMESPACE=${namespace};K8S_POD_NAME=${name}`;

/** A configuration that gives the pod labels. */
export const labelled = (labels: Readonly<Record<string, string>>, more: Json = {}): Json =>
  config({ runtimeConfig: { labels }, ...more }, { v4: '10.77.0.0/24', v6: 'fd77::/64' });
