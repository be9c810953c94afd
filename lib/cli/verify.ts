import { messageOf } from '../cni/error.ts';
import {
  type Lack,
  probeForeignChains,
  probeForeignTags,
  probeForwarding,
  probeGate,
  probeHostPorts,
  probeIpv6,
  probeKernel,
  probeLegacyTables,
  probeNeighbours,
  probeNftables,
  probeOwnership,
} from '../enforce/probe.ts';
import { TABLE } from '../gate/desired.ts';
import { Nft } from '../kernel/nft.ts';
import type { Cleared } from '../pod/clear-node.ts';
import { isOwnLink } from '../pod/inventory.ts';
import { allLinks, isLocalAddress } from '../pod/links.ts';
import { differences, type Mismatch, mendLinks, type Scene } from '../pod/verify.ts';
import { unwritable } from '../pod/writable.ts';
import { printable } from '../tag/printable.ts';
import { askAgent, isAgents } from './ask-agent.ts';
import { binDirOption, clearedJson, clearedLines, clearWholeNode, forceOption, nftSummary } from './clearing.ts';
import { command, type Exit, exit, normalPath, outputOption, print, printJson, warn } from './command.ts';
import { probeFlows } from './flows/probe-flows.ts';
import { firstSteps, numbered } from './install/first-steps.ts';
import { type Live, liveOptions, openLive } from './live-node.ts';

/** Finds what a node lacks before tollgate has plugged in a pod there. */
export function probeNode(): Lack[] {
  const unusable = [...probeKernel(), ...probeNftables(() => Nft.open())];
  if (unusable.length > 0) return unusable;
  using nft = Nft.open();
  return [
    ...probeGate(nft),
    ...probeForeignChains(nft),
    ...probeLegacyTables(),
    ...probeOwnership(nft),
    ...probeNeighbours(),
  ];
}

/** An ADD is what writes there: to look needs no room. */
const probeFolders = ({ stateDir, runDir }: Live['settings']): Lack[] =>
  [stateDir, runDir].flatMap(folder => {
    const what = unwritable(folder);
    const fix = 'mount it read-write, or free some space: no pod can be plugged in until then';
    return what === undefined ? [] : [{ severity: 'broken', what, fix }];
  });

const sceneOf = (live: Live): Scene => ({ here: live.here, store: live.store, links: allLinks(live.here.host) });

interface Repaired {
  readonly cleared: Cleared;
  readonly nft: readonly string[];
  readonly mended: readonly Mismatch[];
  readonly failures: readonly unknown[];
}

/** Clears the node as GC does, then mends the links of living pods. */
async function repair(live: Live, options: Parameters<typeof clearWholeNode>[1]): Promise<Repaired> {
  const { cleared, nft } = await clearWholeNode(live, options);
  const { mended, failures } = await mendLinks(sceneOf(live));
  return { cleared, nft, mended, failures: [...cleared.failures, ...failures] };
}

/** Asks the agent for differences in its table: no other process knows what that table should hold. */
async function agentsDifferences(live: Live, runDir: string): Promise<readonly Mismatch[]> {
  if (!isAgents(live)) return [];
  const about = 'table inet tollgate';
  try {
    const nft = await askAgent<readonly string[]>(runDir, 'GET', '/drift');
    return nft.length === 0 ? [] : [{ about, what: 'differs from what it should be', nft }];
  } catch (error) {
    return [...holesIn(about), { about, what: `was not compared: ${messageOf(error)}` }];
  }
}

/** What any process sees: a gate that is not there. */
function holesIn(about: string): readonly Mismatch[] {
  using nft = Nft.open();
  const table = nft.readTable('inet', TABLE);
  const next = 'no pod is gated before an agent makes it anew';
  if (!table) return [{ about, what: `is gone: ${next}` }];
  const isFlushed = table.chains.every(({ rules }) => rules.length === 0);
  return isFlushed ? [{ about, what: `holds no rule, as after \`nft flush ${about}\`: ${next}` }] : [];
}

const sentence = ({ about, what }: Mismatch): string => `${about}: ${what}`;
const indented = (lines: readonly string[]): string => lines.map(line => `  ${printable(line)}\n`).join('');

const differenceLines = (difference: Mismatch): string[] => [
  sentence(difference),
  ...nftSummary(difference.nft ?? []).map(line => `  ${line}`),
];

export const lackLines = (lacks: readonly Lack[]): string[] =>
  lacks.flatMap(({ what, fix }) => (fix === undefined ? [what] : [what, `  ${fix}`]));

interface Report {
  readonly found: readonly Mismatch[];
  readonly lacks: readonly Lack[];
  readonly repaired: Repaired | undefined;
  /** What to do next, where no pod is plugged in. */
  readonly next?: readonly string[];
}

function printReport({ found, lacks, repaired, next = [] }: Report): void {
  if (repaired) {
    const lines = [...clearedLines(repaired), ...repaired.mended.map(each => `mended: ${sentence(each)}`)];
    print(`Repaired:\n${lines.length > 0 ? indented(lines) : '  nothing had to be\n'}`);
  }
  const grave = lacks.filter(({ severity }) => severity !== 'note');
  const notes = lacks.filter(({ severity }) => severity === 'note');
  if (found.length > 0)
    print(`${repaired ? 'Still differs' : 'Differs'}:\n${indented(found.flatMap(differenceLines))}`);
  if (grave.length > 0) print(`Lacks:\n${indented(lackLines(grave))}`);
  if (notes.length > 0) print(`Worth knowing:\n${indented(lackLines(notes))}`);
  if (found.length === 0 && grave.length === 0) print('Kernel, table and records agree.');
  else if (found.length > 0 && !repaired) print('`tollgate verify --repair` mends what can be mended.');
  if (next.length > 0)
    print(
      `No pod is plugged in. ${grave.length > 0 ? 'Once this node has what it lacks' : 'Next'}:\n${numbered(next)}`,
    );
}

const jsonOf = ({ found, lacks, repaired, next = [] }: Report, isFine: boolean) => ({
  fine: isFine,
  differences: found.map(({ about, what, nft }) => ({ about, what, ...(nft ? { nft } : {}) })),
  lacking: lacks,
  repaired: repaired
    ? {
        ...clearedJson(repaired),
        mended: repaired.mended.map(({ about, what }) => ({ about, what })),
      }
    : null,
  next,
});

function conclude(report: Report, isJson: boolean): Exit {
  const { found, lacks, repaired } = report;
  const isFine = found.length === 0 && lacks.every(({ severity }) => severity === 'note');
  if (isJson) printJson(jsonOf(report, isFine));
  else printReport(report);
  for (const failure of repaired?.failures ?? []) warn(failure instanceof Error ? failure.message : String(failure));
  if ((repaired?.failures.length ?? 0) > 0) return exit.failed;
  return isFine ? exit.yes : exit.no;
}

export const verify = command(
  'verify',
  'Hold the kernel against what it should hold, and say what this node lacks',
  parser =>
    parser
      .options({
        repair: { type: 'boolean', default: false, describe: 'Mend what can be mended, then look again' },
        ...forceOption,
        ...outputOption,
        ...binDirOption,
        'conf-dir': {
          type: 'string',
          default: '/etc/cni/net.d',
          requiresArg: true,
          coerce: normalPath,
          describe: 'Where runtimes find their network',
        },
        ...liveOptions,
      })
      .example('$0 verify', 'nothing is changed')
      .example('$0 verify --repair', 'what `tollgate gc` does, and the links, tags and routes of living pods')
      .example('$0 verify --repair --force', 'links that nothing knows are deleted, too')
      .example('$0 verify -o json', 'for scripts and monitoring')
      .epilog(
        'A pod counts as different only if it still is when no call for it is under way. --repair writes lost records of running pods again. Where no pod is plugged in yet, it says in order what to do next. Exit code 0: fine; 1: something differs, or the node lacks something; 3: a repair failed. Rules of others that drop pods’ packets are named with the line to add; they are never changed.',
      ),
  async options => {
    const isJson = options.output === 'json';
    const lacks = probeNode();
    // Without nftables there is nothing to compare.
    if (probeNftables(() => Nft.open()).length > 0)
      return conclude({ found: [], lacks, repaired: undefined, next: firstSteps(options) }, isJson);
    using live = openLive(options, warn);
    const repaired = options.repair ? await repair(live, options) : undefined;
    const scene = sceneOf(live);
    // Where there are pods, forwarding that is off is a difference.
    const forwarding = live.found ? [] : probeForwarding([4]);
    const { host, hook } = live.here;
    const pods = hook.table.store.read()?.state.pods ?? {};
    const hasIpv6Pods = Object.values(pods).some(({ addresses }) => addresses.some(text => text.includes(':')));
    const [agents, flows] = await Promise.all([agentsDifferences(live, options.runDir), probeFlows(options.runDir)]);
    const own = [
      ...probeFolders(live.settings),
      ...probeForeignTags(scene.links, isOwnLink),
      ...forwarding,
      ...probeIpv6(hasIpv6Pods ? 'broken' : 'note'),
      ...probeHostPorts({ pods }, address => isLocalAddress(host, address)),
      ...flows,
    ];
    const found = [...agents, ...(await differences(scene))];
    const next = live.found ? [] : firstSteps(options);
    return conclude({ found, lacks: [...lacks, ...own], repaired, next }, isJson);
  },
);
