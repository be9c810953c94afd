/**
 * A folder of network configurations (`/etc/cni/net.d`): any program puts files there, and runtimes watch it.
 * @see libcni's ConfFiles and go-cni's loading: the first file by name counts, folders do not
 */
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { doing } from './error.ts';
import { makeFolders } from './make-folders.ts';

/** A file of the folder, whichever program wrote it. */
export interface ConfFile {
  readonly file: string;
  /** Absent where no network configuration can be read in it. */
  readonly conf?: Conf;
}

export interface Conf {
  readonly name?: string;
  /** The `type` of each plugin; empty where there is none. */
  readonly types: readonly unknown[];
}

/** Bytes; a longer file is no network configuration. */
const longestConf = 1 << 20;

const isConf = (name: string): boolean => /\.(conf|conflist|json)$/.test(name);

/**
 * The text of a file that another program made.
 * @throws Error it is no regular file (opening a FIFO would block), or longer than `longestConf`
 */
export function readForeign(path: string): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw new Error(`Cannot read ${path}: no regular file`);
    if (stat.size > longestConf) throw new Error(`Cannot read ${path}: more than ${longestConf} bytes`);
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}

const isMapping = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Undefined where the text is no configuration of a network. */
function parseConf(text: string): Conf | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isMapping(value)) return undefined;
  const plugins = Array.isArray(value['plugins']) ? value['plugins'] : [];
  const types = [value['type'], ...plugins.map((plugin: unknown) => (isMapping(plugin) ? plugin['type'] : undefined))];
  const { name } = value;
  return { types: types.filter(type => type !== undefined), ...(typeof name === 'string' ? { name } : {}) };
}

function confIn(path: string): { readonly conf?: Conf } {
  try {
    const conf = parseConf(readForeign(path));
    return conf ? { conf } : {};
  } catch {
    return {};
  }
}

/** Network configurations by name, as runtimes read them; none where no folder is. @throws StateError it cannot be listed */
export function confFilesIn(folder: string): readonly ConfFile[] {
  if (!existsSync(folder)) return [];
  const entries = doing('list', folder, () => readdirSync(folder, { withFileTypes: true }));
  return entries
    .filter(entry => isConf(entry.name) && !entry.isDirectory())
    .map(({ name }) => name)
    .sort()
    .map(file => ({ file, ...confIn(join(folder, file)) }));
}

/** Seen by no runtime: they look neither into folders nor at such names. */
const MAKING = '.tollgate';

/** What to do where runtimes' folder is read-only. */
export const OTHER_CONF = 'name a folder that can be written with --conf-dir';

/**
 * Puts the file there, or replaces it, in one piece. It is made in a folder below, which no runtime watches: containerd
 * reads all configurations at the first byte that is written in its own, and logs an error where the only one is half
 * written. It hears of no file that is moved in, but of one that is renamed, so the file is both. Synced: a power cut must
 * not leave an empty one.
 * @throws StateError
 */
export function placeConf(path: string, text: string): void {
  const [folder, name] = [dirname(path), basename(path)];
  const making = join(folder, MAKING);
  const [made, aside] = [join(making, name), join(folder, `.${name}.new`)];
  const place = (): void => {
    try {
      makeFolders(making);
      const fd = openSync(
        made,
        constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW,
        0o644,
      );
      try {
        writeFileSync(fd, text);
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      renameSync(made, aside);
      renameSync(aside, path);
    } catch (error) {
      for (const left of [made, aside]) rmSync(left, { force: true });
      throw error;
    } finally {
      removeIfEmpty(making);
    }
  };
  doing('write', path, place, OTHER_CONF);
}

/** Removes the folder if it is empty; files that a process left when it died stay for the next one to use. */
function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // Not there, or not empty.
  }
}

/** `path` with the ending, and a number where there is such a file already: what was moved aside before is not lost. */
export function unusedName(path: string, ending: string): string {
  for (let number = 1; ; number++) {
    const name = `${path}${ending}${number === 1 ? '' : `.${number}`}`;
    if (!lstatSync(name, { throwIfNoEntry: false })) return name;
  }
}
