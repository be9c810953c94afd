/**
 * `logFile`: what calls did, a line each, for an admin who does not have the runtime's log at hand. A log that cannot be
 * written is no reason for a call to fail.
 */
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import type { Config } from '../cni/config.ts';
import type { LogLevel } from '../cni/own-keys.ts';
import type { AttachmentRequest, NetworkRequest } from '../cni/request.ts';
import { openAsSeenBy } from '../kernel/mount-namespace.ts';
import { printableLines } from '../tag/printable.ts';

type Level = Exclude<LogLevel, 'silent'>;

const ranks: Readonly<Record<LogLevel, number>> = { silent: 0, error: 1, warn: 2, info: 3, debug: 4 };

/** A FIFO without a reader must not block the call, and calls at the same time must not write over each other. */
const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK | constants.O_NOCTTY;

/** The call that a line is about: `ADD 3f2a eth0 in net`. */
function subjectOf(request: AttachmentRequest | NetworkRequest): string {
  const { verb, config } = request;
  const attachment = 'containerID' in request ? ` ${request.containerID} ${request.ifname}` : '';
  return `${verb}${attachment} in ${config.name}`;
}

export interface LogFile {
  readonly write: (level: Level, text: string) => void;
}

function append(path: string, line: string, caller: number | undefined): void {
  const fd = caller === undefined ? openSync(path, flags, 0o640) : openAsSeenBy(caller, path, flags, 0o640);
  try {
    writeSync(fd, line);
  } finally {
    closeSync(fd);
  }
}

/**
 * Lines after the first are indented, so that each entry begins with its time.
 * @param caller the process whose file it is; this one where absent
 */
export function openLogFile(request: AttachmentRequest | NetworkRequest, caller?: number): LogFile {
  const { logFile, logLevel }: Pick<Config, 'logFile' | 'logLevel'> = request.config;
  const subject = subjectOf(request);
  return {
    write: (level, text) => {
      if (logFile === undefined || ranks[level] > ranks[logLevel]) return;
      const line = `${new Date().toISOString()} ${level} ${subject}: ${printableLines(text.trimEnd()).replaceAll('\n', '\n    ')}\n`;
      try {
        append(logFile, line, caller);
      } catch {}
    },
  };
}
