/**
 * The native part of the package `netlink`, from inside the executable. The build puts node-gyp-build.cjs, which calls this, in
 * the place of the package `node-gyp-build`, which looks for the addon on disk; here it is an asset of the executable, and no
 * file may be left behind on the node. A shared library must be mapped from a file, so it goes into one that has no name.
 */
import { closeSync, constants, openSync, unlinkSync, writeSync } from 'node:fs';
import { getRawAsset, isSea } from 'node:sea';
import { checked, memoryLibc } from './ffi.ts';

const ASSET = 'netlink.node';
/** include/uapi/linux/memfd.h; kernels before 6.3 do not know MFD_EXEC and answer EINVAL. */
const MFD_CLOEXEC = 1;
const MFD_EXEC = 0x10;
/** O_TMPFILE of asm-generic/fcntl.h, which Node does not name: __O_TMPFILE | O_DIRECTORY. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

export class AddonError extends Error {
  override readonly name = 'AddonError';
}

interface Place {
  readonly name: string;
  /** A descriptor of an empty nameless file, open for writing. */
  readonly open: () => number;
}

const memory = (flags: number): Place => ({
  name: `memory (memfd, flags ${flags})`,
  open: () => checked('create a file in memory', memoryLibc().memfd_create(ASSET, flags)),
});

const unnamed = (folder: string): Place => ({
  name: `${folder} (O_TMPFILE)`,
  open: () => openSync(folder, O_TMPFILE | constants.O_RDWR, 0o700),
});

/** A file for filesystems without O_TMPFILE: its name is gone before anything is in it. */
const unlinked = (folder: string): Place => ({
  name: `${folder} (unlinked)`,
  open: () => {
    const path = `${folder}/.tollgate-${process.pid}-${Math.random().toString(36).slice(2)}`;
    const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o700);
    unlinkSync(path);
    return fd;
  },
});

/** Memory first; then folders, any of which may be mounted noexec, or be read-only, or be missing. */
export const places: readonly Place[] = [
  memory(MFD_CLOEXEC | MFD_EXEC),
  memory(MFD_CLOEXEC),
  ...['/run', '/tmp', '/dev/shm'].flatMap(folder => [unnamed(folder), unlinked(folder)]),
];

function loadAt(place: Place, bytes: Uint8Array): unknown {
  const fd = place.open();
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
    const module = { exports: {} };
    // Another thread may have loaded it under the same number: libc gives that one again, since it goes by the name.
    process.dlopen(module, `/proc/self/fd/${fd}`);
    return module.exports;
  } finally {
    closeSync(fd);
  }
}

/** The exports of an addon that exists as bytes only. @throws AddonError with what was tried, where no place will do */
export function loadFromBytes(bytes: Uint8Array, from: readonly Place[] = places): unknown {
  const failures: string[] = [];
  for (const place of from) {
    try {
      return loadAt(place, bytes);
    } catch (error) {
      failures.push(`${place.name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  throw new AddonError(`Cannot load ${ASSET}: ${failures.join('; ')}`);
}

/**
 * Loads the addon; the package calls it in the place of node-gyp-build (through node-gyp-build.cjs).
 * @param folder of the package: where its prebuilt addons are, when this runs outside the executable
 */
export function loadAddon(folder: string): unknown {
  if (isSea()) return loadFromBytes(new Uint8Array(getRawAsset(ASSET)));
  const module = { exports: {} };
  process.dlopen(module, `${folder}/prebuilds/linux-${process.arch}/node.napi.node`);
  return module.exports;
}
