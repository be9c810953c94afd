import { writeSync } from 'node:fs';
import { printable } from '../tag/printable.ts';

/** Levels, the least first: `debug` changes nothing, `info` changes something, `error` keeps pods from working. */
export const logLevels = ['debug', 'info', 'warn', 'error'] as const;
export type LineLevel = (typeof logLevels)[number];

export type Log = (level: LineLevel, message: string, fields?: Readonly<Record<string, unknown>>) => void;

/** Writes one JSON object a line to stderr, of this level and above; a closed stderr is no reason to end. */
export const logToStderr =
  (least: LineLevel): Log =>
  (level, message, fields) => {
    if (logLevels.indexOf(level) < logLevels.indexOf(least)) return;
    try {
      writeSync(2, `${printable(JSON.stringify({ time: new Date().toISOString(), level, message, ...fields }))}\n`);
    } catch {}
  };
