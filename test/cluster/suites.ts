/** Tests that others wrote: sig-network's part of Kubernetes' own end-to-end suite, with two nodes. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { before, suite, test } from 'node:test';
import type { KubeCluster } from './cluster.ts';
import { adminConfig } from './control.ts';
import { kubernetes } from './daemon.ts';
import { archives, suiteImages } from './images.ts';
import { release } from './release.ts';

/** Outside of the run's own folder: it is what a run leaves. */
const folder = `${process.cwd()}/dist/cluster-suites`;
/** `some`: what fits into CI. */
export type Extent = 'none' | 'some' | 'all';

interface Selection {
  readonly name: string;
  /** Of the tests' names. */
  readonly focus: string;
  /** The part of it that is run in CI; all of it where absent, none of it where it is empty. */
  readonly some?: string;
}

const selections: readonly Selection[] = [
  { name: 'conformance', focus: '\\[sig-network\\].*\\[Conformance\\]' },
  {
    name: 'network-policy',
    focus: '\\[sig-network\\] Netpol',
    some:
      'Netpol.*(default-deny|Ports|PodSelector and NamespaceSelector|named port|updated|CIDR|stacked|stop enforcing|' +
      'client side|even if the plugin)',
  },
  {
    // Those that leave themselves out where there is one node, and no more: the rest of sig-network's Services.
    name: 'two-nodes',
    focus:
      '\\[sig-network\\] (Conntrack|KubeProxy should set|Service CIDRs|Traffic Distribution .*same node|' +
      'Networking Granular Checks: Services should|Services should (preserve source pod IP|' +
      '(not )?be able to connect to terminating|respect internalTrafficPolicy|' +
      'support externalTrafficPolicy=Local for type=NodePort|fail health check node port|fallback to))',
    some: '',
  },
];

/** What no run on such a machine can do, and why; of a test's name. */
const impossible: Readonly<Record<string, string>> = {
  'Feature:SCTPConnectivity': 'this kernel has no SCTP sockets',
};

interface Report {
  readonly SpecReports: readonly {
    readonly LeafNodeType: string;
    readonly ContainerHierarchyTexts: readonly string[] | null;
    readonly LeafNodeText: string;
    readonly State: string;
    readonly RunTime: number;
    readonly Failure?: { readonly Message?: string };
  }[];
}

interface Result {
  readonly name: string;
  readonly state: 'passed' | 'failed' | 'skipped' | 'impossible';
  /** Of what did not pass. */
  readonly reason: string;
}

function resultsOf({ SpecReports }: Report, { focus }: Selection): readonly Result[] {
  return SpecReports.filter(({ LeafNodeType }) => LeafNodeType === 'It').flatMap((spec): readonly Result[] => {
    const name = [...(spec.ContainerHierarchyTexts ?? []), spec.LeafNodeText].join(' ');
    if (!new RegExp(focus).test(name)) return [];
    const reason = (spec.Failure?.Message ?? '').split('\n')[0]!;
    const cannot = Object.entries(impossible).find(([pattern]) => new RegExp(pattern).test(name));
    if (cannot && spec.State === 'skipped') return [{ name, state: 'impossible', reason: cannot[1] }];
    if (spec.State === 'passed') return [{ name, state: 'passed', reason: '' }];
    // Those that were left out have no reason; those that leave themselves out say one.
    if (spec.State === 'skipped') return reason === '' ? [] : [{ name, state: 'skipped', reason }];
    return [{ name, state: 'failed', reason }];
  });
}

async function run(selection: Selection, extent: Extent): Promise<readonly Result[]> {
  const place = `${folder}/${selection.name}`;
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place, { recursive: true });
  const focus = extent === 'some' ? (selection.some ?? selection.focus) : selection.focus;
  const ginkgo = [
    ...['--procs=4', '--timeout=2h', '--no-color', '--silence-skips', `--focus=${focus}`],
    `--skip=${Object.keys(impossible).join('|')}`,
    ...[`--output-dir=${place}`, '--json-report=report.json', '--junit-report=junit.xml', `${kubernetes}/e2e.test`],
  ];
  const suite = [
    ...[`--kubeconfig=${adminConfig}`, `--kubectl-path=${kubernetes}/kubectl`, '--provider=skeleton'],
    ...['--num-nodes=2', '--allowed-not-ready-nodes=0', '--minStartupPods=0', '--dns-domain=cluster.local'],
  ];
  const log = openSync(`${place}/log`, 'w');
  const command = ['--pdeathsig', 'KILL', `${kubernetes}/ginkgo`, ...ginkgo, '--', ...suite];
  const child: ChildProcess = spawn('setpriv', command, { stdio: ['ignore', log, log], cwd: place });
  await once(child, 'close');
  const [report] = JSON.parse(readFileSync(`${place}/report.json`, 'utf8')) as readonly Report[];
  return resultsOf(report!, selection);
}

function summaryOf(name: string, results: readonly Result[], seconds: number): string {
  const count = (state: Result['state']) => results.filter(result => result.state === state).length;
  const figures = `${count('passed')} passed, ${count('failed')} failed`;
  const others = `${count('skipped')} leave themselves out, ${count('impossible')} cannot run here`;
  const lines = results
    .filter(({ state }) => state !== 'passed')
    .map(({ name, state, reason }) => `  ${state}: ${name}: ${reason}`);
  return [`${name}: ${figures}, ${others}; ${Math.round(seconds)} s`, ...lines, ''].join('\n');
}

export function suites(cluster: () => KubeCluster, extent: Extent): void {
  suite("Kubernetes' own tests", () => {
    before(async () => {
      const nodes = [...cluster().nodes.values()];
      for (const image of suiteImages) {
        const archive = archives[image]!();
        await Promise.all(nodes.map(async node => await node.import(archive)));
      }
    });

    for (const selection of selections) {
      if (extent === 'some' && selection.some === '') continue;
      test(`${selection.name}, ${extent} of it: what can run here passes`, async t => {
        const started = performance.now();
        const results = await run(selection, extent);
        const summary = summaryOf(selection.name, results, (performance.now() - started) / 1000);
        writeFileSync(`${folder}/${selection.name}.txt`, `Kubernetes ${release.name}, ${summary}`);
        for (const line of summary.trimEnd().split('\n')) t.diagnostic(line);
        assert.ok(
          results.some(({ state }) => state === 'passed'),
          'not one has run: see the log beside the report',
        );
        assert.deepEqual(
          results.filter(({ state }) => state === 'failed'),
          [],
        );
      });
    }
  });
}
