/** `tollgate sysdump`: one archive of what a maintainer asks for, with nothing in it that can be a secret. */
import { writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { messageOf } from '../../cni/error.ts';
import { command, counted, type Exit, exit, normalPath, print, warn } from '../command.ts';
import { agentPods } from '../kubectl/kubectl.ts';
import { liveOptions } from '../live-node.ts';
import { STDIN } from '../policy/manifests.ts';
import { progress } from '../progress.ts';
import type { ArchiveEntry } from './archive.ts';
import { clusterFacts } from './cluster-facts.ts';
import { type Fact, nodeFacts } from './node-facts.ts';

interface Gathered {
  readonly entries: readonly ArchiveEntry[];
  readonly failures: readonly string[];
}

/** A fact that cannot be read becomes an error in the archive, and keeps no other fact out of it. */
async function gather(facts: readonly Fact[]): Promise<Gathered> {
  const entries: ArchiveEntry[] = [];
  const failures: string[] = [];
  for (const [index, { path, read }] of facts.entries()) {
    progress(`${index + 1}/${facts.length} ${path}`);
    try {
      const content = await read();
      if (content !== undefined) entries.push({ path, content, mode: 0o600 });
    } catch (error) {
      failures.push(`${path}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  progress('');
  return { entries, failures };
}

async function archiveOf(name: string, { entries, failures }: Gathered, time: Date): Promise<Buffer> {
  const { gzip, tar } = await import('./archive.ts');
  const all = failures.length === 0 ? entries : [...entries, { path: 'failures', content: `${failures.join('\n')}\n` }];
  return gzip(
    await tar(
      all.map(entry => ({ ...entry, path: `${name}/${entry.path}` })),
      time,
    ),
  );
}

interface Target {
  /** A path, or `-` for stdout. */
  readonly output: string | undefined;
  /** `node1`: the part of the archive's name that says what the archive describes. */
  readonly about: string;
}

async function dump(facts: readonly Fact[], { output, about }: Target): Promise<Exit> {
  const time = new Date();
  const name = `tollgate-sysdump-${about}-${time.toISOString().replace(/[-:]|\.\d+/g, '')}`;
  const gathered = await gather(facts);
  const bytes = await archiveOf(name, gathered, time);
  if (output === '-' || output === STDIN) {
    await new Promise(resolve => process.stdout.write(bytes, resolve));
    return exit.yes;
  }
  const path = output ?? `${name}.tar.gz`;
  try {
    writeFileSync(path, bytes, { mode: 0o600 });
  } catch (error) {
    throw new Error(`Cannot write the archive: ${messageOf(error)}`);
  }
  for (const failure of gathered.failures) warn(`not in it: ${failure}`);
  print(`wrote ${path}: ${counted(gathered.entries.length, 'file')}. Look into it before you hand it on.`);
  return exit.yes;
}

export const sysdump = command(
  'sysdump',
  'Write one archive with everything that a maintainer asks for',
  parser =>
    parser
      .options({
        output: {
          alias: 'o',
          type: 'string',
          requiresArg: true,
          coerce: normalPath,
          describe: 'The archive’s path; - for stdout',
          defaultDescription: 'tollgate-sysdump-NAME-TIME.tar.gz, here',
        },
        cluster: {
          type: 'boolean',
          default: false,
          describe: 'Of all nodes that run the DaemonSet, by kubectl, from where kubectl works',
        },
        kubeconfig: { type: 'string', requiresArg: true, describe: 'With --cluster: as kubectl has it' },
        context: { type: 'string', requiresArg: true, describe: 'With --cluster: as kubectl has it' },
        namespace: {
          type: 'string',
          default: 'kube-system',
          requiresArg: true,
          describe: 'With --cluster: where the DaemonSet is',
        },
        'conf-dir': {
          type: 'string',
          default: '/etc/cni/net.d',
          requiresArg: true,
          coerce: normalPath,
          describe: 'Where conflists are',
        },
        ...liveOptions,
      })
      .example('sudo $0 sysdump', 'of this node')
      .example('$0 sysdump --cluster', 'of all nodes, from an admin’s machine')
      .epilog(
        'In it: versions, status, verify, pods, table, links, routes, conntrack counts, logs, networks, policies. Of manifests only what tollgate reads is taken: no Secret, no environment of a pod, no annotation; values of keys such as token or password in networks’ configurations are left out. What cannot be read is named in the file `failures`. Exit code 0: the archive is written; 3: it is not.',
      ),
  async ({ output, cluster, kubeconfig, context, namespace, confDir, runDir, stateDir, policies }) => {
    if (cluster) {
      const where = { kubeconfig, context, namespace };
      return dump(clusterFacts(where, await agentPods(where)), { output, about: 'cluster' });
    }
    return dump(nodeFacts({ runDir, confDir, stateDir, policies }), { output, about: hostname() });
  },
);
