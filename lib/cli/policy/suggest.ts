import { stringify } from 'yaml';
import type { Entry, FlowEnd, FlowRecord } from '../../flows/model.ts';
import { type Evidence, type Suggestion, suggest } from '../../flows/suggest.ts';
import { diff, type PolicyDiff } from '../../policy/explain/diff.ts';
import { readManifests } from '../../policy/manifest/manifest.ts';
import { policyRef } from '../../policy/model/model.ts';
import { command, counted, exit, outputOption, print, printJson, UsageError } from '../command.ts';
import { momentBefore } from '../flows/moment.ts';
import { listRecorded } from '../flows/recorded.ts';
import { type LiveArguments, liveOptions } from '../live-node.ts';
import { differenceText } from './diff.ts';
import { liveWorld } from './judged.ts';

/** Flows of one namespace that are looked at: all that an agent keeps. */
const MOST = 100_000;

/** The pod as flows show it. @throws Error where none does */
function subjectIn(flows: readonly FlowRecord[], name: string): FlowEnd {
  const found = flows.flatMap(({ from, to }) => [from, to]).findLast(end => end.kind === 'pod' && end.name === name);
  if (found) return found;
  throw new Error(
    `Cannot suggest a policy for ${name}: no flow of it was recorded; see \`tollgate flows pod:${name}\`, and give a longer --since`,
  );
}

const clock = (seconds: number): string => new Date(seconds * 1000).toISOString().replace('T', ' ').slice(0, 16);

const evidenceText = ({ direction, index, flows, peers, last }: Evidence): string =>
  `# ${direction}[${index}]: ${counted(flows, 'flow')}, the last at ${clock(last)}: ${peers.join(', ')}`;

function suggestionText({ manifest, evidence, leftOut }: Suggestion, difference: PolicyDiff): string {
  const comments = [
    ...evidence.map(evidenceText),
    ...leftOut.map(text => `# left out: ${text}`),
    '# once enforced, beside what is in force today:',
    ...differenceText(difference)
      .split('\n')
      .map(line => `#   ${line}`),
  ];
  return `${comments.join('\n')}\n${stringify(manifest)}`;
}

/** The change for the pods of this node if the suggested policy were in force. */
async function differenceOf(manifest: object, live: LiveArguments): Promise<PolicyDiff> {
  const { world, options } = await liveWorld(live);
  const { metadata, ...rest } = manifest as { readonly metadata: { readonly annotations?: object } };
  const { annotations: _, ...named } = metadata;
  const value = { ...rest, metadata: named };
  const [policy] = readManifests([{ file: 'suggested', document: 0, value }]).world.policies;
  const others = world.policies.filter(each => policyRef(each) !== policyRef(policy!));
  return diff(world, { ...world, policies: [...others, policy!] }, options);
}

const isFlow = (entry: Entry): entry is FlowRecord => entry.kind === 'flow';

export const policySuggest = command(
  'suggest',
  'Write the least NetworkPolicy that allows what was seen of a pod',
  parser =>
    parser
      .options({
        for: { type: 'string', demandOption: true, requiresArg: true, describe: 'NAMESPACE/POD' },
        since: {
          type: 'string',
          default: '1h',
          requiresArg: true,
          describe: 'What has been for so long: 90s, 10m, 2h, 1d',
        },
        name: {
          type: 'string',
          requiresArg: true,
          describe: 'Name of the policy; suggested-POD where it is not given',
        },
        enforced: {
          type: 'boolean',
          default: false,
          describe: 'Without the annotation that has it judged beside the others and not enforced',
        },
        ...outputOption,
        ...liveOptions,
      })
      .example('$0 policy suggest --for shop/web-7d9c6b8f5d-x2x9z --since 1d', 'staged: judged, and not enforced yet')
      .example('$0 policy suggest --for shop/web-0 --enforced > web.yaml', 'to be applied once you have read it')
      .epilog(
        'Of flows that an agent with --flows has recorded on this node, allowed ones only. Pods are named by their labels, all but those that a controller gives to some of its pods; ends without labels and those outside by their addresses. What was not seen in that time is not allowed by it: DNS, too, only where it was asked.',
      ),
  async options => {
    const [namespace, pod, ...more] = options.for.split('/');
    if (!namespace || !pod || more.length > 0)
      throw new UsageError(`Cannot use ${JSON.stringify(options.for)} as --for: give NAMESPACE/POD`);
    const since = momentBefore(options.since);
    const query = { filter: `ns:${namespace} verdict:allowed`, since, last: MOST };
    const flows = (await listRecorded(options.runDir, query)).filter(isFlow);
    const name = options.name ?? `suggested-${pod}`;
    const suggestion = suggest(subjectIn(flows, options.for), flows, { name, isStaged: !options.enforced });
    const difference = await differenceOf(suggestion.manifest, options);
    if (options.output === 'json') printJson({ ...suggestion, difference });
    else print(suggestionText(suggestion, difference));
    return exit.yes;
  },
);
