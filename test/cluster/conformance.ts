/** Tests that others wrote: the conformance suite of ClusterNetworkPolicy, of `sigs.k8s.io/network-policy-api`. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { after, before, suite, test } from 'node:test';
import { parse } from 'yaml';
import { tollgate } from '../support/places.ts';
import { version } from '../support/release.ts';
import type { KubeCluster } from './cluster.ts';
import { adminConfig } from './control.ts';
import { define, definitions } from './definitions.ts';
import { archives, conformanceImage } from './images.ts';
import type { KubeNode } from './node.ts';

/** Outside of the run's own folder: it is what a run leaves. */
const folder = `${process.cwd()}/dist/cluster-suites/cluster-network-policy`;
const files = { report: `${folder}/report.yaml`, log: `${folder}/log` } as const;

interface Status {
  readonly statistics: { readonly Passed: number; readonly Failed: number; readonly Skipped: number };
  readonly failedTests?: readonly string[];
}

/** What the suite writes, as far as it is read here. */
interface Report {
  readonly profiles: readonly { readonly standard: Status; readonly experimental: Status }[];
}

const statusOf = async ({ host }: KubeNode): Promise<string> => (await host.run([tollgate, 'status'])).stdout;

/** @throws Error where the suite has written no report: the end of its log */
async function run(): Promise<readonly Status[]> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const about = {
    organization: 'tollgate',
    project: 'tollgate',
    version,
    url: 'https://tollgate.example',
    contact: 'https://tollgate.example',
    'additional-info': 'npm run test:cluster -- --suites=all',
  };
  // Upstream bounds none of them. A machine that is busy takes longer than upstream's ten seconds for a verdict.
  const timeouts = ['-test.timeout=1h', '-setup-timeout=15m', '-poke-timeout=1m', '-request-timeout=2s'];
  const words = [
    ...['-test.v', ...timeouts, `-report-output=${files.report}`],
    ...Object.entries(about).map(([flag, value]) => `-${flag}=${value}`),
  ];
  const log = openSync(files.log, 'w');
  const command = ['--pdeathsig', 'KILL', process.env['TOLLGATE_CLUSTER_CONFORMANCE']!, ...words];
  const child: ChildProcess = spawn('setpriv', command, {
    stdio: ['ignore', log, log],
    env: { ...process.env, KUBECONFIG: adminConfig },
  });
  await once(child, 'close');
  try {
    const { profiles } = parse(readFileSync(files.report, 'utf8')) as Report;
    return profiles.flatMap(({ standard, experimental }) => [standard, experimental]);
  } catch (cause) {
    throw new Error(`The suite has written no report:\n${readFileSync(files.log, 'utf8').slice(-4000)}`, { cause });
  }
}

/** What the suite writes down where a pod, after a change, was answered as before it. */
const earlyAnswer = /Expected connection to /g;

export function conformance(cluster: () => KubeCluster): void {
  suite('Conformance of ClusterNetworkPolicy', () => {
    const installed = definitions();

    before(async () => {
      const nodes = [...cluster().nodes.values()];
      const archive = archives[conformanceImage]!();
      await Promise.all(nodes.map(async node => await node.import(archive)));
      await define(cluster(), installed);
    });
    after(async () => await Promise.all(installed.map(async definition => await cluster().api.delete(definition))));

    test('all of it passes', async t => {
      const statuses = await run();
      const count = (what: keyof Status['statistics']) =>
        statuses.reduce((sum, { statistics }) => sum + statistics[what], 0);
      t.diagnostic(`${count('Passed')} passed, ${count('Failed')} failed, ${count('Skipped')} skipped`);
      const early = readFileSync(files.log, 'utf8').match(earlyAnswer)?.length ?? 0;
      t.diagnostic(`${early} answers came from before their change; the suite asks again after 500 ms`);
      for (const node of cluster().nodes.values())
        t.diagnostic(`${node.name}: ${(await statusOf(node)).match(/From an event to the kernel.*/)?.[0]}`);
      assert.deepEqual(
        statuses.flatMap(({ failedTests = [] }) => failedTests),
        [],
      );
    });
  });
}
