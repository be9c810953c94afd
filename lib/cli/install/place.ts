/** Files put in their places in one piece: a reader sees the old one or the new one. */
import {
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { confFilesIn, OTHER_CONF, placeConf, readForeign } from '../../state/conf-folder.ts';
import { doing } from '../../state/error.ts';
import { makeFolders } from '../../state/make-folders.ts';

/** What to do where the folder of executables is read-only. */
const OTHER_BIN = 'name a folder that can be written with --bin-dir, where runtimes look for plugins';

/** Makes the new file aside and renames it. What fails leaves the old one, and nothing aside. @throws StateError */
function placed(path: string, make: (aside: string) => void, otherwise = OTHER_BIN): void {
  const aside = join(dirname(path), `.${basename(path)}.${process.pid}`);
  const place = (): void => {
    try {
      make(aside);
      renameSync(aside, path);
    } catch (error) {
      rmSync(aside, { force: true });
      throw error;
    }
  };
  doing('write', path, place, otherwise);
}

/** A power cut after the rename must not leave an empty executable. */
function sync(path: string): void {
  const fd = openSync(path, constants.O_RDONLY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** @param otherwise as `doing` takes it @throws StateError */
export const placeText = (path: string, text: string, otherwise?: string): void => {
  const make = (aside: string): void => {
    writeFileSync(aside, text, { mode: 0o644, flag: 'wx' });
    sync(aside);
  };
  placed(path, make, otherwise);
};

const sameFile = (a: string, b: string): boolean => {
  const [x, y] = [a, b].map(path => statSync(path, { bigint: true, throwIfNoEntry: false }));
  return x !== undefined && y !== undefined && x.dev === y.dev && x.ino === y.ino;
};

export interface Placed {
  readonly path: string;
  /** False where it was there already. */
  readonly isNew: boolean;
}

/** Whether the path is a regular file with this text. */
export const isText = (path: string, text: string): boolean => {
  try {
    return readForeign(path) === text;
  } catch {
    return false;
  }
};

function placeCopy(source: string, path: string): Placed {
  const isNew = !sameFile(source, path);
  if (isNew)
    placed(path, aside => {
      copyFileSync(source, aside, constants.COPYFILE_EXCL);
      chmodSync(aside, 0o755);
      sync(aside);
    });
  return { path, isNew };
}

/** One file under two names: by which it is called says what it is to do. */
function placeLaunchers(launcher: Uint8Array, folder: string): readonly Placed[] {
  const [main, ipam] = ['tollgate', 'tollgate-ipam'].map(name => join(folder, name)) as [string, string];
  const isNew =
    statSync(main, { throwIfNoEntry: false })?.size !== launcher.length || !readFileSync(main).equals(launcher);
  if (isNew)
    placed(main, aside => {
      writeFileSync(aside, launcher, { mode: 0o755, flag: 'wx' });
      chmodSync(aside, 0o755);
      sync(aside);
    });
  const isNewIpam = !sameFile(main, ipam);
  if (isNewIpam) placed(ipam, aside => linkSync(main, aside));
  return [
    { path: main, isNew },
    { path: ipam, isNew: isNewIpam },
  ];
}

export interface Executables {
  /** The executable itself. */
  readonly source: string;
  /** cmd/launcher.c, compiled. */
  readonly launcher: Uint8Array;
  /** Runtime folder in which launchers look for an agent. */
  readonly runDir: string;
}

/**
 * The executable as `tollgate-node`, and the launcher under the names that runtimes call. In this order, so that a launcher
 * always finds what it starts.
 */
export function placeExecutables({ source, launcher, runDir }: Executables, folder: string): readonly Placed[] {
  doing('make folder', folder, () => makeFolders(folder, 0o755), OTHER_BIN);
  const node = placeCopy(source, join(folder, 'tollgate-node'));
  const where = join(folder, 'tollgate.rundir');
  const line = `${runDir}\n`;
  const isNew = !isText(where, line);
  if (isNew) placeText(where, line);
  return [node, { path: where, isNew }, ...placeLaunchers(launcher, folder)];
}

export const CONFLIST = '10-tollgate.conflist';

export interface PlacedConflist extends Placed {
  readonly why?: string;
}

/** Writes the conflist unless there is a network of that name without tollgate. @param text the conflist */
export function placeConflist(folder: string, text: string, force: boolean): PlacedConflist {
  const path = join(folder, CONFLIST);
  doing('make folder', folder, () => makeFolders(folder, 0o755), OTHER_CONF);
  const { name } = JSON.parse(text) as { name: string };
  for (const { file: base, conf } of confFilesIn(folder)) {
    const file = join(folder, base);
    const isOurs = conf?.types.includes('tollgate') ?? false;
    if (file === path ? force : !isOurs && conf?.name !== name) continue;
    const why =
      file === path
        ? 'it is there already; --force writes it anew'
        : isOurs
          ? 'it uses tollgate already'
          : `it is a network named ${name} already`;
    return { path: file, isNew: false, why };
  }
  placeConf(path, text);
  return { path, isNew: true };
}

/** The file that runtimes would take instead, since its name comes first: whatever is in it. */
export const findConflict = (folder: string, ours: string): string | undefined =>
  confFilesIn(folder)
    .map(({ file }) => join(folder, file))
    .find(file => file < ours);
