import { existsSync } from 'node:fs';
import { relabelled } from '../../gate/node-state.ts';
import { worldOfNode } from '../../gate/node-world.ts';
import { lint } from '../../policy/lint/lint.ts';
import { ignoredIn } from '../../policy/manifest/ignored.ts';
import { type Document, readManifests } from '../../policy/manifest/manifest.ts';
import type { Pod } from '../../policy/model/model.ts';
import { formatProblem, type Problem } from '../../policy/model/problem.ts';
import { printable } from '../../tag/printable.ts';
import { command, counted, exit, outputOption, print, printJson, warn } from '../command.ts';
import { type LiveArguments, liveOptions, openLive } from '../live-node.ts';
import { keptOf } from './judged.ts';
import { type Documents, fileOption, readFiles } from './manifests.ts';

/** A contract with scripts. Documents count from 1, as in the text. */
const jsonOf = ({ severity, file, document, object, field, message, isStaged }: Problem) => ({
  severity,
  file,
  document: document + 1,
  object: object ?? null,
  field,
  message,
  staged: isStaged === true,
});

interface Linted extends Documents {
  /** Where it is a node's: its pods, which are all that it knows of. */
  readonly node?: { readonly pods: readonly Pod[] };
}

/** `3 objects ignored (Deployment, Service), which mean nothing to policy`; nothing where there are none. */
function ignoredText(documents: readonly Document[]): string {
  const kinds = ignoredIn(documents);
  if (kinds.size === 0) return '';
  const count = [...kinds.values()].reduce((sum, each) => sum + each, 0);
  const names = [...kinds.keys()].sort();
  const shown = names.slice(0, 6).map(printable).join(', ');
  return `${counted(count, 'object')} of other kinds ignored (${shown}${names.length > 6 ? ', …' : ''})`;
}

/** Reads the policies folder of this node as it is now, with the node's pods. */
async function onThisNode(options: LiveArguments): Promise<Linted> {
  using live = openLive(options, warn);
  const state = live.here.hook.table.store.read()?.state;
  if (live.found?.owner.enforcer === 'agent') {
    const kept = await keptOf(live, options.runDir);
    // It tells of the whole cluster, so no policy expects more.
    return { documents: Object.values(kept).flatMap(file => file.documents ?? []), problems: [] };
  }
  // A fresh node has no such folder.
  const { policies } = live.settings;
  const { documents, problems } = readFiles(existsSync(policies) ? [policies] : []);
  if (!state) return { documents, problems };
  const { world } = readManifests(documents);
  return {
    documents,
    problems,
    node: {
      pods: worldOfNode(
        world,
        relabelled(state, world.pods, () => false),
      ).pods,
    },
  };
}

export const policyLint = command(
  'lint',
  'Say what is wrong with manifests',
  parser =>
    parser
      .options({
        ...fileOption,
        ...outputOption,
        warnings: { type: 'boolean', default: true, describe: 'Tell also of what is valid and probably unmeant' },
        ...liveOptions,
      })
      .example('$0 policy lint -f policies/', 'every manifest of a folder')
      .example('$0 policy lint', 'the policies of this node')
      .example('kubectl get netpol -A -o yaml | $0 policy lint -f -', 'what a cluster has')
      .epilog(
        'Exit code 0: no errors, with warnings or without; 1: errors. An invalid policy is not ignored: it closes the pods that it selects, in the directions that are in doubt.',
      ),
  async options => {
    const linted: Linted = options.file ? readFiles(options.file) : await onThisNode(options);
    const { documents, problems, ...on } = linted;
    const least = options.warnings ? 'warning' : 'error';
    const told = problems.filter(({ severity }) => options.warnings || severity === 'error');
    const found = [...told, ...lint(documents, { least, ...on })];
    const errors = found.filter(({ severity }) => severity === 'error').length;
    const warnings = found.length - errors;
    if (options.output === 'json') printJson(found.map(jsonOf));
    else {
      for (const problem of found) print(`${problem.severity}: ${formatProblem(problem)}`);
      const parts = [errors === 0 ? 'no errors' : counted(errors, 'error')];
      if (warnings > 0) parts.push(counted(warnings, 'warning'));
      const ignored = ignoredText(documents);
      if (ignored !== '') parts.push(ignored);
      print(`${counted(documents.length, 'document')}, ${parts.join(', ')}.`);
    }
    return errors === 0 ? exit.yes : exit.no;
  },
);
