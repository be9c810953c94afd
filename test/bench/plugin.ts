/** What the plugin costs a runtime: whole processes, in turn with Debian's plugins. */
import { writeFileSync } from 'node:fs';
import { bridge, bridgeMasq, makePods, ours, Place, type Pod, ptp, root, tollgate } from './cni.ts';
import type { Part } from './main.ts';
import { interleave, interleaveBursts, settled, type Times } from './measure.ts';
import { must } from './node.ts';
import { policiesOfABusyNode } from './policies.ts';
import { compared, type Row, single } from './report.ts';

const part = 'plugin: one executable, one process for each call';
const runs = 40;
const masquerading = { ipMasq: true };

function wholeProcess(): Row[] {
  const places = [ours(masquerading), ptp, bridge, bridgeMasq, ours({ enforcer: 'none' })].map(plugin =>
    settled(new Place(plugin)),
  );
  const [own, point, bridged, masked, bare] = interleave(places, runs) as [Times, Times, Times, Times, Times];
  const nothing = Array.from({ length: runs }, () => places[0]!.node.run({ command: '/bin/true' }).ms);
  const add = { part, what: 'ADD, ipMasq, policies enforced', unit: 'ms' } as const;
  const del = { part, what: 'DEL', unit: 'ms' } as const;
  return [
    compared(add, own.add, 'bridge ipMasq', masked.add),
    compared(add, own.add, 'bridge', bridged.add),
    compared(add, own.add, 'ptp', point.add),
    compared({ ...add, what: 'ADD, no ipMasq, tag only' }, bare.add, 'ptp', point.add),
    compared(del, own.del, 'ptp', point.del),
    compared(del, own.del, 'bridge', bridged.del),
    compared(del, own.del, 'bridge ipMasq', masked.del),
    single({ part, what: 'the same spawn of /bin/true', unit: 'ms' }, nothing),
  ];
}

/** The same bundle, packed the same way, but for two lines before its first. */
function timedExecutable(): string {
  const [output, node, banner] = ['/run/bench/timed/tollgate', '/run/bench/timed/node', '/run/bench/timed/banner.js'];
  must('mkdir', ['-p', '/run/bench/timed']);
  must(process.execPath, [`${root}/.build/node.mjs`, process.execPath, node]);
  writeFileSync(
    banner,
    `const began = performance.now();
process.on('exit', () => require('node:fs').writeSync(3, JSON.stringify([began, performance.now() - began])));`,
  );
  must(node, [
    '--disable-warning=ExperimentalWarning',
    `${root}/.build/pack.ts`,
    output,
    `${root}/dist/tools/launcher`,
    banner,
  ]);
  return output;
}

/** From the first line of our code to the process's exit. */
function inProcess(): Row[] {
  const place = settled(new Place(ours(masquerading, timedExecutable())));
  const [pod] = makePods(1);
  const found = { boot: [] as number[], add: [] as number[], del: [] as number[] };
  for (let round = -3; round < runs; round++) {
    const [boot, add] = JSON.parse(place.add(pod!).note) as [number, number];
    const [, del] = JSON.parse(place.del(pod!).note) as [number, number];
    if (round < 0) continue;
    found.boot.push(boot);
    found.add.push(add);
    found.del.push(del);
  }
  return [
    single({ part, what: 'Node and V8, before our first line', unit: 'ms' }, found.boot),
    single({ part, what: 'ADD, from our first line to the result', unit: 'ms' }, found.add),
    single({ part, what: 'DEL, from our first line to the end', unit: 'ms' }, found.del),
  ];
}

async function bursts(): Promise<Row[]> {
  const [number, width] = [50, 16];
  const places = [ours(masquerading), ptp, bridge, bridgeMasq].map(plugin => settled(new Place(plugin)));
  const [own, point, , masked] = await interleaveBursts(places, { number, width, rounds: 3 });
  const measured = { part, what: `${number} ADDs, ${width} at once`, unit: 'ms' } as const;
  return [compared(measured, own!, 'ptp', point!), compared(measured, own!, 'bridge ipMasq', masked!)];
}

async function crowded(number: number): Promise<Row[]> {
  const [none, one, many] = [
    new Place(ours(masquerading)),
    new Place(ours(masquerading)),
    new Place(ours(masquerading)),
  ];
  settled(one);
  const ms = await many.addAll(makePods(number), 4);
  const [alone, second, crowd] = interleave([none, one, many], runs) as [Times, Times, Times];
  const what = `ADD with ${number} pods there`;
  return [
    single({ part, what: `${number} ADDs, 4 at once`, unit: 's' }, [ms / 1000]),
    compared({ part, what, unit: 'ms' }, crowd.add, 'with none', alone.add, { atMost: 1.1 }),
    compared({ part, what, unit: 'ms' }, crowd.add, 'with one', second.add),
    compared({ part, what: `DEL with ${number} pods there`, unit: 'ms' }, crowd.del, 'with one', second.del),
  ];
}

async function enforced(): Promise<Row[]> {
  const [policies, pods] = [50, 100];
  const inline = new Place(ours(masquerading));
  const bare = new Place(ours({ ...masquerading, enforcer: 'none' }));
  for (const place of [inline, bare]) {
    place.node.write('policies/all.json', policiesOfABusyNode(policies));
    await place.addAll(makePods(pods), 8);
  }
  const [own, none] = interleave([inline, bare], runs) as [Times, Times];
  const where = `${policies} policies, ${pods} pods`;
  const rows = [
    compared({ part, what: `ADD, inline, ${where}`, unit: 'ms' }, own.add, 'enforcer none', none.add, { atMost: 1.25 }),
    compared({ part, what: `DEL, inline, ${where}`, unit: 'ms' }, own.del, 'enforcer none', none.del),
  ];
  const rush: Pod[] = makePods(pods);
  const ms = await inline.addAll(rush, pods);
  return [
    ...rows,
    single({ part, what: `${pods} such ADDs at once, all succeed`, unit: 's' }, [ms / 1000], { atMost: 60 }),
  ];
}

export const plugin: Part = async say => {
  say(`whole processes of ${tollgate}, ${runs} rounds`);
  const rows = wholeProcess();
  say('the same, timed from inside');
  rows.push(...inProcess());
  say('bursts');
  rows.push(...(await bursts()));
  say('policies enforced');
  rows.push(...(await enforced()));
  say('a thousand pods');
  rows.push(...(await crowded(1000)));
  return rows;
};
