/** tar and gzip, the same bytes for the same entries: sorted, root's, and of one time. */
import { createHash } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { gzip as zlibGzip } from 'node:zlib';
import { pack } from 'tar-stream';

export interface ArchiveEntry {
  /** Without a slash before it; with one behind it a folder. */
  readonly path: string;
  readonly content?: Uint8Array | string;
  /** Target of a symbolic link. */
  readonly linkTo?: string;
  /** 0755 for folders and 0644 for files where absent. */
  readonly mode?: number;
}

/** With the folders that they are in, each before what it holds. */
function withFolders(entries: readonly ArchiveEntry[]): readonly ArchiveEntry[] {
  const all = new Map(entries.map(entry => [entry.path, entry]));
  for (const { path } of entries)
    for (let at = path.indexOf('/'); at >= 0 && at < path.length - 1; at = path.indexOf('/', at + 1)) {
      const folder = path.slice(0, at + 1);
      if (!all.has(folder)) all.set(folder, { path: folder });
    }
  return [...all.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** @param time  of every entry */
export function tar(entries: readonly ArchiveEntry[], time: Date): Promise<Buffer> {
  const stream = pack();
  for (const { path, content = '', linkTo, mode } of withFolders(entries)) {
    const isFolder = path.endsWith('/');
    const of = { name: path, mode: mode ?? (isFolder ? 0o755 : 0o644), mtime: time, uid: 0, gid: 0 };
    if (linkTo !== undefined) stream.entry({ ...of, mode: 0o777, type: 'symlink', linkname: linkTo });
    else if (isFolder) stream.entry({ ...of, type: 'directory' });
    else stream.entry({ ...of, type: 'file' }, Buffer.from(content));
  }
  stream.finalize();
  return buffer(stream);
}

/** zlib writes no time; level 9 takes three times as long as 6, and makes the executable half a percent smaller. */
export const gzip = (bytes: Uint8Array): Promise<Buffer> => promisify<Uint8Array, Buffer>(zlibGzip)(bytes);

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
