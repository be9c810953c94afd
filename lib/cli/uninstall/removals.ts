/** The removals that uninstall a node, as steps that a command can show before it takes them. */
import { existsSync, readdirSync, readFileSync, realpathSync, renameSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { TABLE } from '../../gate/desired.ts';
import { must } from '../../kernel/message.ts';
import { Nft } from '../../kernel/nft.ts';
import { MOVED_ASIDE } from '../../node/conflist.ts';
import { mainRoutes, routeChanges } from '../../node/routes.ts';
import { confFilesIn, unusedName } from '../../state/conf-folder.ts';
import { counted } from '../command.ts';
import { conflistFor } from '../install/conflist.ts';
import { writtenDropIns } from '../install/drop-ins.ts';
import type { Live } from '../live-node.ts';

export interface Removal {
  /** An order: `remove /opt/cni/bin/tollgate`. */
  readonly what: string;
  readonly take: () => void;
}

export interface NodeFolders {
  readonly binDir: string;
  readonly confDir: string;
  readonly runDir: string;
}

const namesIn = (folder: string): readonly string[] => (existsSync(folder) ? readdirSync(folder) : []);

const removal = (path: string): Removal => ({
  what: `remove ${path}`,
  take: () => rmSync(path, { recursive: true, force: true }),
});

const move = (from: string, to: string, why: string): Removal => ({
  what: `move ${from} to ${to}: ${why}`,
  take: () => renameSync(from, to),
});

/** A conflist that is not as install writes it may hold what an admin chose, so it is kept where no runtime reads it. */
function conflistSteps({ confDir, runDir }: NodeFolders): readonly Removal[] {
  const files = confFilesIn(confDir);
  return files
    .filter(({ conf }) => conf?.types.includes('tollgate'))
    .map(({ file }) => {
      const path = join(confDir, file);
      const isAsWritten = readFileSync(path, 'utf8') === conflistFor(runDir);
      return isAsWritten
        ? removal(path)
        : move(path, unusedName(path, '.uninstalled'), 'it is not as install writes it');
    });
}

/** Networks that `agent --take-over` had moved out of the way. */
const takenOverSteps = ({ confDir }: NodeFolders): readonly Removal[] =>
  namesIn(confDir)
    .filter(name => name.endsWith(MOVED_ASIDE))
    .flatMap(name => {
      const [from, to] = [join(confDir, name), join(confDir, name.slice(0, -MOVED_ASIDE.length))];
      return existsSync(to) ? [] : [move(from, to, 'tollgate had taken its place')];
    });

/** After these the runtime asks for no more pods of ours. */
export const networkSteps = (folders: NodeFolders): readonly Removal[] => [
  ...conflistSteps(folders),
  ...takenOverSteps(folders),
];

function tableSteps({ here }: Live): readonly Removal[] {
  if (!here.hook.table.read()) return [];
  const take = () => {
    using nft = Nft.open();
    nft.commit({ family: 'inet', table: TABLE, operations: [{ verb: 'delete', object: 'table' }] });
  };
  return [{ what: 'delete table inet tollgate, which gates no pod any more', take }];
}

function routeSteps({ here }: Live): readonly Removal[] {
  const changes = routeChanges(mainRoutes(here.host), []);
  if (changes.length === 0) return [];
  const what = `remove ${counted(changes.length, 'route')} to pods of other nodes (ip route show proto 116)`;
  return [{ what, take: () => void must(here.host(changes)) }];
}

/** While there is a launcher, it finds what it starts. */
const executableSteps = ({ binDir }: NodeFolders): readonly Removal[] =>
  ['tollgate', 'tollgate-ipam', 'tollgate.rundir', 'tollgate-node']
    .map(name => join(binDir, name))
    .filter(path => existsSync(path))
    .map(removal);

const dropInSteps = (): readonly Removal[] =>
  writtenDropIns().map(({ path, reload }) => ({ ...removal(path), what: `remove ${path}; then: ${reload}` }));

/** Locks, sockets and records that a call, the launcher or an agent keeps: `4026531840.node`, `agent.lock`. */
const isOfRunDir = (name: string): boolean =>
  /^(\d+[.-].*|node-process-\d+\.lock|agent\.(lock|seen|sock)|cni\.sock|node\.json|flows\.token)$/.test(name);

/** A path as the kernel writes it into mountinfo: blanks, tabs, line breaks and backslashes as `\\040` and the like. */
const unescaped = (path: string): string =>
  path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

/** Whether a file system is mounted at the folder. @see proc_pid_mountinfo(5), field 5 */
function isMountPoint(folder: string): boolean {
  const path = realpathSync(folder);
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  return lines.some(line => unescaped(line.split(' ')[4] ?? '') === path);
}

/** A folder that an admin chose may hold more than ours, or be where a volume is mounted, and then it stays. */
function folderSteps(folder: string, isOurs: (name: string) => boolean): readonly Removal[] {
  const names = namesIn(folder);
  const ours = names.filter(isOurs).map(name => removal(join(folder, name)));
  if (!existsSync(folder) || ours.length < names.length || isMountPoint(folder)) return ours;
  return [...ours, { what: `remove ${folder}`, take: () => rmdirSync(folder) }];
}

/** Removes what the node has for its pods, once no pod is plugged in. */
export const nodeSteps = (folders: NodeFolders, live: Live): readonly Removal[] => [
  ...tableSteps(live),
  ...routeSteps(live),
  ...executableSteps(folders),
  ...dropInSteps(),
  ...folderSteps(live.settings.stateDir, name => name.startsWith('boot-')),
  ...folderSteps(folders.runDir, isOfRunDir),
];
