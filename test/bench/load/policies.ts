/** Questions about many and large policies, and what a large policy of one namespace costs the pods of others. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { makePods, ours, Place, tollgate } from '../cni.ts';
import type { LoadGroup, LoadRow } from '../load-report.ts';
import { peakMemory } from '../measure.ts';

const times = <T>(number: number, make: (i: number) => T): readonly T[] =>
  Array.from({ length: number }, (_, i) => make(i));

const cidr = (i: number, last: string): string => `${((i * 7919) % 223) + 1}.${(i >> 8) & 255}.${i & 255}.${last}`;
const block = (holes: number) => (i: number) => ({
  ipBlock: { cidr: cidr(i, '0/24'), except: times(holes, hole => cidr(i, `${2 * hole}/32`)) },
});

const policy = (namespace: string, ingress: readonly unknown[]) => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name: 'large', namespace },
  spec: { podSelector: {}, policyTypes: ['Ingress'], ingress },
});

const ofBlocks = (number: number, holes: number, namespace = 'tenant') =>
  policy(namespace, [{ from: times(number, block(holes)) }]);

/** Of five namespaces and both families, every pod with labels of its own. */
function cluster(number: number): unknown {
  const pods = times(number, i => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: `p${i}`, namespace: `n${i % 5}`, labels: { app: `app${i}` } },
    status: { podIPs: [{ ip: `10.${i >> 8}.${i & 255}.7` }, { ip: `fd00::${(i + 1).toString(16)}` }] },
  }));
  const policies = times(20, i => ({
    ...policy(`n${i % 5}`, [{ from: [{ podSelector: { matchLabels: { app: `app${i}` } } }, block(1)(i)] }]),
    metadata: { name: `np${i}`, namespace: `n${i % 5}` },
  }));
  return { apiVersion: 'v1', kind: 'List', items: [...pods, ...policies] };
}

interface Spent {
  /** Of one processor. */
  readonly seconds: number;
  /** MiB */
  readonly memory: number;
}

let files = 0;

/** What a command of the executable spends on one file of manifests; its answer goes nowhere. */
async function spent(args: readonly string[], manifests: unknown): Promise<Spent> {
  const file = `/run/bench/policies-${++files}.json`;
  writeFileSync(file, JSON.stringify(manifests));
  const command = [tollgate, ...args, '-f', file].map(word => `'${word}'`).join(' ');
  const child = spawn('/bin/bash', ['-c', `TIMEFORMAT='%U %S'; time ${command} >/dev/null`], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', data => {
    said += String(data);
  });
  const memory = await peakMemory(executable => executable === tollgate, once(child, 'close'));
  const [user, system] = said.trim().split('\n').at(-1)!.split(' ').map(Number);
  return { seconds: user! + system!, memory };
}

const seconds = (what: string, atMost: number, { seconds: figure }: Spent, before?: number): LoadRow => ({
  what,
  asked: { atMost },
  figure,
  unit: 's of processor',
  ...(before === undefined ? {} : { before }),
});

async function questions(say: (progress: string) => void): Promise<readonly LoadRow[]> {
  say('lint');
  const lint = (number: number, holes: number) => spent(['policy', 'lint'], ofBlocks(number, holes));
  const rows = [
    seconds('lint of 900 blocks with 20 excepts each', 2, await lint(900, 20), 163),
    seconds('lint of 19,000 blocks', 2, await lint(19_000, 0), 2.5),
    seconds('lint of a policy that is larger than policies may be: 40,000 blocks', 2, await lint(40_000, 0)),
  ];
  const matrix = ['policy', 'matrix', '--port', '80/TCP', '-o', 'json'];
  const results: LoadRow[] = [];
  for (const number of [1000, 2000]) {
    say(`matrix of ${number} pods`);
    const found = await spent(matrix, cluster(number));
    results.push(seconds(`matrix -o json of ${number} dual-stack pods`, number === 1000 ? 15 : 60, found));
    results.push({
      what: `matrix -o json of ${number} dual-stack pods: memory`,
      asked: { atMost: number === 1000 ? 250 : 500 },
      figure: found.memory,
      unit: 'MiB',
      ...(number === 1000 ? { before: 2150 } : {}),
    });
  }
  return [...rows, ...results];
}

/** Seconds of processor time that programs which this process has started and waited for have spent. */
const spentByChildren = (): number => {
  const fields = readFileSync('/proc/self/stat', 'utf8').split(') ').at(-1)!.split(' ');
  // cutime and cstime, in hundredths of a second (proc_pid_stat(5), fields 16 and 17).
  return (Number(fields[13]) + Number(fields[14])) / 100;
};

/** Seconds of processor time for pods of new identities, one after the other. */
function newIdentities(place: Place, number: number): number {
  const before = spentByChildren();
  for (const pod of makePods(number)) place.add({ ...pod, labels: { app: pod.name } });
  return spentByChildren() - before;
}

/** Beside a policy of another namespace, with or without pods on the node, that selects none of the pods that are added. */
function strangers(say: (progress: string) => void, withTenant: boolean): LoadRow {
  const number = 40;
  const place = (manifest: unknown): Place => {
    const made = new Place(ours());
    writeFileSync(`${made.node.folder}/policies/policy.json`, JSON.stringify(manifest));
    if (withTenant) for (const pod of makePods(1)) made.add({ ...pod, namespace: 'tenant' });
    newIdentities(made, 2);
    return made;
  };
  const tenant = withTenant ? 'a namespace that has a pod here' : 'another namespace';
  say(`ADDs beside the policies of ${tenant}`);
  const [small, large] = [place(ofBlocks(1, 0)), place(ofBlocks(9000, 1))];
  // In turn, so that what else the machine does is in both.
  const figures = [small, large, large, small].map(each => newIdentities(each, number));
  return {
    what: `${number} ADDs of new identities beside a policy of 9,000 blocks with excepts in ${tenant}`,
    asked: { atMost: 1.2 },
    figure: (figures[1]! + figures[2]!) / (figures[0]! + figures[3]!),
    unit: '× with one of one block',
  };
}

export const group: LoadGroup = async say => [strangers(say, false), strangers(say, true), ...(await questions(say))];
