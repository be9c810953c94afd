/** The engines beside each other, in turn, on one cluster. Started by cluster/run.sh, in namespaces that end with it. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { KubeCluster } from '../../cluster/cluster.ts';
import { release } from '../../cluster/release.ts';
import { picture, themes } from '../picture.ts';
import { sayer } from '../progress.ts';
import { compared, formatReport, quantile, type Row, reportOf, single, type Unit, whereText } from '../report.ts';
import { changes } from './changes.ts';
import { type Contender, contenders, lacksQueue } from './contenders.ts';
import { takenBy } from './costs.ts';
import { engineLabel, enginePanels, engineTable } from './panels.ts';
import { type Found, paths } from './paths.ts';
import { scale } from './scale.ts';
import { type Burst, burst, reachability } from './starts.ts';

/** `--brief` is for a machine that others use as well; `--quick` tries whether it all works. */
const sizes = {
  whole: {
    starts: 20,
    bursts: 2,
    changes: 100,
    numbers: [0, 1, 10, 50, 100, 200, 1_000, 10_000],
    runs: 7,
    scale: { nodes: 1_000, pods: 20_000, namespaces: 200, policies: 500, churn: { rate: 20, seconds: 60 } },
  },
  brief: {
    starts: 10,
    bursts: 1,
    changes: 30,
    numbers: [0, 1, 10, 50, 100, 200, 1_000],
    runs: 5,
    scale: { nodes: 1_000, pods: 5_000, namespaces: 100, policies: 200, churn: { rate: 20, seconds: 30 } },
  },
  quick: {
    starts: 3,
    bursts: 1,
    changes: 3,
    numbers: [0, 1, 10],
    runs: 3,
    scale: { nodes: 20, pods: 200, namespaces: 10, policies: 20, churn: { rate: 20, seconds: 5 } },
  },
};
const BURST = 100;

const say = sayer('engines');

const part = (name: string) => `engines: ${name}`;

type Sized = (typeof sizes)['whole'];

async function inTurn<T>(all: readonly Contender[], what: string, work: (each: Contender) => Promise<T>): Promise<T[]> {
  const found: T[] = [];
  for (const each of all) {
    say(`${what}, ${each.name}`);
    found.push(await work(each));
  }
  return found;
}

interface Measured {
  readonly part: string;
  readonly what: string;
  readonly unit: Unit;
}

/** Each engine beside none. */
function besideNone(
  all: readonly Contender[],
  measured: Measured,
  values: readonly (readonly number[])[],
  atMost: number,
): Row[] {
  const none = all.findIndex(({ isEngine }) => !isEngine);
  return all.map(({ name }, i) => {
    const of = { ...measured, what: `${measured.what}, ${name}` };
    if (i === none) return single(of, values[i]!);
    return compared(of, values[i]!, all[none]!.name, values[none]!, name === 'tollgate' ? { atMost } : undefined);
  });
}

async function starts(cluster: KubeCluster, all: readonly Contender[], { starts }: Sized): Promise<Row[]> {
  const found = await inTurn(all, 'starts', each => reachability(cluster, each, starts));
  const measured: Measured = {
    part: part('pod creation reachability'),
    what: 'write of a pod → its first answer',
    unit: 'ms',
  };
  return besideNone(all, measured, found, 1.1);
}

async function crowds(cluster: KubeCluster, all: readonly Contender[], { bursts }: Sized): Promise<Row[]> {
  const found = await inTurn(all, `${BURST} pods at once`, async each => {
    const of: Burst[] = [];
    for (let i = 0; i < bursts; i++) of.push(await burst(cluster, each, BURST));
    return of;
  });
  const leaks = all.flatMap(({ name, isEngine }, i): Row[] => {
    if (!isEngine) return [];
    const of = (what: string) => ({ part: part('open before the gate'), what: `${what}, ${name}`, unit: '' as const });
    const sum = (field: 'leaked' | 'packets') => found[i]!.reduce((total, each) => total + each[field], 0);
    const target = name === 'tollgate' ? { atMost: 0 } : undefined;
    return [
      single(of(`of ${BURST * bursts} denied pods sent something`), [sum('leaked')], target),
      single(of('packets of theirs that arrived'), [sum('packets')], target),
    ];
  });
  const measured: Measured = { part: part(`${BURST} pods at once`), what: 'until all are Ready', unit: 's' };
  const seconds = found.map(each => each.map(({ ready }) => ready / 1000));
  return [...leaks, ...besideNone(all, measured, seconds, 1.0)];
}

async function delays(cluster: KubeCluster, all: readonly Contender[], { changes: count }: Sized): Promise<Row[]> {
  const engines = all.filter(({ isEngine }) => isEngine);
  const found = await inTurn(engines, 'policies that come and go', each => changes(cluster, each, count, say));
  return engines.flatMap(({ name }, i) => {
    const measured = { part: part('policy creation enforcement') };
    const late = {
      ...measured,
      what: `changes not in force in 20 s, ${name}`,
      unit: '' as const,
    };
    const rows = (['refused', 'allowed'] as const).flatMap((fate): Row[] => {
      const values = found[i]![fate];
      const of = (quantile: string) => ({
        ...measured,
        what: `write → first ${fate} packet, ${quantile}, ${name}`,
        unit: 'ms' as const,
      });
      const p99 = [quantile(values, 0.99)];
      return [single(of('p50'), values), single(of('p99'), p99, name === 'tollgate' ? { atMost: 60 } : undefined)];
    });
    return [...rows, single(late, [found[i]!.late])];
  });
}

const measures = {
  connection: 'a connection',
  roundTrip: 'a round trip',
  small: 'a request for 512 bytes',
  large: 'a request for 1 MiB',
  slowest: 'the slowest connection of a hundred',
} as const;

function pathRows(all: readonly Contender[], found: readonly Found[]): Row[] {
  const none = all.find(({ isEngine }) => !isEngine)!.name;
  const at = (policies: number, contender: string) =>
    found.find(each => each.policies === policies && each.contender === contender)?.times ?? [];
  const numbers = [...new Set(found.map(({ policies }) => policies))];
  return Object.entries(measures).flatMap(([field, name]) =>
    all.flatMap(contender =>
      numbers.flatMap((policies): Row[] => {
        const values = (who: string) => at(policies, who).map(times => times[field as keyof typeof measures]);
        const own = values(contender.name);
        if (own.length === 0) return [];
        const what = `${name}, ${policies} policies, ${contender.name}`;
        const of = { part: part(`packets: ${name}`), what, unit: 'µs' as const };
        return [contender.isEngine ? compared(of, own, none, values(none)) : single(of, own)];
      }),
    ),
  );
}

async function weights(cluster: KubeCluster, all: readonly Contender[], { scale: size }: Sized): Promise<Row[]> {
  const found = await scale(cluster, all, size, say);
  const name = `${size.nodes} nodes and ${size.pods} pods of kwok`;
  const leanest = (field: 'memory' | 'processor') =>
    found.filter(({ contender }) => contender !== 'tollgate').sort((a, b) => a.churned[field] - b.churned[field])[0]!;
  return found.flatMap(({ contender, still, churned }): Row[] => {
    const of = (what: string, unit: Unit) => ({ part: part(name), what: `${what}, ${contender}`, unit });
    const beside = (what: string, unit: Unit, field: 'memory' | 'processor') =>
      contender === 'tollgate'
        ? compared(of(what, unit), [churned[field]], leanest(field).contender, [leanest(field).churned[field]], {
            atMost: 0.5,
          })
        : single(of(what, unit), [churned[field]]);
    return [
      single(of('memory, standing still', 'MiB'), [still.memory]),
      beside('memory, after the churn', 'MiB', 'memory'),
      beside(`processor time of ${size.churn.seconds} s of ${size.churn.rate} pods/s`, 's', 'processor'),
    ];
  });
}

/** What was reached at least stands in the report, however a later part ends. */
function write(rows: readonly Row[], missing: readonly string[]): string {
  const peers = { 'kube-router': 'v2.1.0', Kubernetes: release.name, kwok: 'v0.7.0' };
  const report = reportOf(rows, peers, 'npm run bench -- engines');
  const notes = missing.map(line => `${line}\n`).join('');
  mkdirSync('dist', { recursive: true });
  writeFileSync('dist/engines.json', `${JSON.stringify({ ...report, missing }, null, 2)}\n`);
  writeFileSync('dist/engines.md', `${engineTable(rows)}\n${whereText(report)}\n\n${notes}`);
  for (const theme of themes)
    writeFileSync(`dist/engines-${theme}.svg`, picture(enginePanels(rows), report, engineLabel, theme));
  return `${formatReport(report)}\n${notes}`;
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { brief: { type: 'boolean' }, quick: { type: 'boolean' } },
  });
  const size = values.quick ? sizes.quick : values.brief ? sizes.brief : sizes.whole;
  using cluster = await KubeCluster.start();
  const all = await contenders(cluster);
  const missing: string[] = [];
  const queue = await lacksQueue(all[0]!.node);
  if (queue) missing.push(`kube-network-policies does not run here: the kernel refuses nftables' queue: ${queue}`);
  const rows: Row[] = [];
  const idle = () =>
    all.flatMap((each): Row[] => {
      const taken = takenBy(each);
      const of = { part: part('an idle cluster of four nodes'), what: `memory, ${each.name}`, unit: 'MiB' as const };
      return taken ? [single(of, [taken.memory])] : [];
    });
  const parts: Readonly<Record<string, () => Promise<Row[]>>> = {
    idle: async () => idle(),
    starts: () => starts(cluster, all, size),
    crowds: () => crowds(cluster, all, size),
    changes: () => delays(cluster, all, size),
    paths: async () => pathRows(all, await paths(cluster, all, { numbers: size.numbers, runs: size.runs, say })),
    scale: () => weights(cluster, all, size),
  };
  for (const [name, run] of Object.entries(parts)) {
    if (positionals.length > 0 && !positionals.includes(name)) continue;
    try {
      rows.push(...(await run()));
    } catch (error) {
      missing.push(`${name}: ${String(error)}`);
      console.error(`Cannot measure ${name}: ${String(error)}`);
    }
    process.stdout.write(write(rows, missing));
  }
}

// The first process of its namespace gets no signal that it does not ask for.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(1));
await main();
process.exit(0);
