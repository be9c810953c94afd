/** The bytes of a file that was named on the command line: not more than can be held, and not waited for without end. */
import { closeSync, constants, fstatSync, openSync, readlinkSync, readSync } from 'node:fs';
import { messageOf } from '../../cni/error.ts';
import { LONGEST } from '../../nodestore/manifest-file.ts';
import { errnoOf } from '../../state/error.ts';

/** Bytes of a device: /dev/null ends at once, and others may never. */
const LONGEST_OF_DEVICE = 1 << 20;

/** Milliseconds until a FIFO must have a writer. */
const TIMEOUT = 10_000;

/** Milliseconds between two looks at a pipe that is empty. */
const PAUSE = 20;

const pause = (): unknown => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE);

/** Undefined where there may be more later. */
function readChunk(fd: number): Buffer | undefined {
  const chunk = Buffer.allocUnsafe(1 << 16);
  try {
    return chunk.subarray(0, readSync(fd, chunk));
  } catch (error) {
    if (errnoOf(error) !== 'EAGAIN') throw error;
    return undefined;
  }
}

/** Waits for a FIFO's writer, as every program that reads one does, but not for ever. @throws Error where none comes */
function awaitWriter(fd: number): Buffer | undefined {
  for (const end = performance.now() + TIMEOUT; ; pause()) {
    const chunk = readChunk(fd);
    if (chunk?.length !== 0) return chunk;
    if (performance.now() > end) throw new Error(`a FIFO into which no program has written for ${TIMEOUT / 1000} s`);
  }
}

/** @throws Error where more comes, or a device has nothing to say */
function readAll(fd: number, most: number, isDevice: boolean, begun: Buffer | undefined): Buffer {
  const chunks = begun ? [begun] : [];
  for (let length = begun?.length ?? 0; length <= most; ) {
    const chunk = readChunk(fd);
    if (chunk?.length === 0) return Buffer.concat(chunks);
    if (!chunk && isDevice) throw new Error('a device that has nothing to say');
    if (!chunk) pause();
    else {
      chunks.push(chunk);
      length += chunk.length;
    }
  }
  throw new Error(`longer than ${most >> 20} MiB, as no manifests are`);
}

function readBounded(fd: number): Buffer {
  const stat = fstatSync(fd);
  const isDevice = stat.isCharacterDevice() && fd !== 0;
  // What a shell makes for <(command) has had its writer.
  const isFifo = stat.isFIFO() && !readlinkSync(`/proc/self/fd/${fd}`).startsWith('pipe:');
  const begun = isFifo ? awaitWriter(fd) : undefined;
  return readAll(fd, isDevice ? LONGEST_OF_DEVICE : LONGEST, isDevice, begun);
}

/**
 * @param file 0: stdin
 * @param name for a message
 * @throws Error where it cannot be read, is longer than text can be, or is a FIFO without a writer
 */
export function bytesOf(file: string | 0, name: string): Buffer {
  const fd = file === 0 ? 0 : openSync(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    return readBounded(fd);
  } catch (error) {
    if (errnoOf(error) !== undefined) throw error;
    throw new Error(`Cannot read ${name}: ${messageOf(error)}`, { cause: error });
  } finally {
    if (fd !== 0) closeSync(fd);
  }
}
