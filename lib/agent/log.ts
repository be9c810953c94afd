import { writeSync } from 'node:fs';

export type Log = (
  level: 'info' | 'warn' | 'error',
  message: string,
  fields?: Readonly<Record<string, unknown>>,
) => void;

/** One JSON object a line on stderr; a log that nobody takes is no reason to end. */
export const logToStderr: Log = (level, message, fields) => {
  try {
    writeSync(2, `${JSON.stringify({ time: new Date().toISOString(), level, message, ...fields })}\n`);
  } catch {}
};
