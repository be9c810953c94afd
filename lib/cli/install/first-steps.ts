/** What is to be done, in order, until pods can be plugged in on this node. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { heartbeatAge } from '../../rpc/heartbeat.ts';
import { confFilesIn } from '../../state/conf-folder.ts';
import { missingDropIns } from './drop-ins.ts';
import { CONFLIST, findConflict } from './place.ts';

function dropInSteps(): readonly string[] {
  const missing = missingDropIns();
  if (missing.length === 0) return [];
  const reloads = new Set(missing.map(({ reload }) => reload));
  const paths = missing.map(({ path }) => path);
  return [`\`tollgate install --drop-ins\` writes ${paths.join(', ')}; then: ${[...reloads].join('; ')}`];
}

/** @param conflist the path of ours */
export function stepsAfterInstall(confDir: string, conflist: string): readonly string[] {
  const other = findConflict(confDir, conflist);
  return [
    `Look at the address ranges in ${conflist}: no other network of yours may have them.`,
    ...(other === undefined
      ? []
      : [`Runtimes take the first file of ${confDir} by name, and that is ${other}: move it away.`]),
    ...dropInSteps(),
    '`tollgate connectivity test` plugs in pods of its own, has them talk, and takes them away.',
    'Plug pods in: containerd and CRI-O notice the files by themselves. Then: `tollgate pods`, `tollgate verify`.',
  ];
}

interface Folders {
  readonly binDir: string;
  readonly confDir: string;
  readonly runDir: string;
}

/** None on the node of an agent, which does all of it. */
export function firstSteps({ binDir, confDir, runDir }: Folders): readonly string[] {
  if (Number.isFinite(heartbeatAge(runDir))) return [];
  const isPlaced = ['tollgate', 'tollgate-node'].every(name => existsSync(join(binDir, name)));
  const own = confFilesIn(confDir).find(({ conf }) => conf?.types.includes('tollgate'))?.file;
  const writes = `writes the network, ${join(confDir, CONFLIST)}`;
  const what = isPlaced ? writes : `puts the plugin into ${binDir} and ${writes}`;
  const install = `\`tollgate install\` ${what}; on a node of Kubernetes leave that to \`tollgate install --kubernetes\`.`;
  return [
    ...(isPlaced && own !== undefined ? [] : [install]),
    ...stepsAfterInstall(confDir, join(confDir, own ?? CONFLIST)),
  ];
}

export const numbered = (steps: readonly string[]): string =>
  steps.map((step, index) => `  ${index + 1}. ${step}`).join('\n');
