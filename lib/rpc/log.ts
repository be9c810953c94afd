import { writeSync } from 'node:fs';
import { printable } from '../tag/printable.ts';

/** From what changes nothing (`debug`), by what changes something (`info`), to what keeps pods from working (`error`). */
export const logLevels = ['debug', 'info', 'warn', 'error'] as const;
export type LineLevel = (typeof logLevels)[number];

export type Log = (level: LineLevel, message: string, fields?: Readonly<Record<string, unknown>>) => void;

/** One JSON object a line on stderr, of this level and above; a log that nobody takes is no reason to end. */
export const logToStderr =
  (least: LineLevel): Log =>
  (level, message, fields) => {
    if (logLevels.indexOf(level) < logLevels.indexOf(least)) return;
    try {
      writeSync(2, `${printable(JSON.stringify({ time: new Date().toISOString(), level, message, ...fields }))}\n`);
    } catch {}
  };
