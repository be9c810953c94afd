import { readConf } from '../conf.ts';

/** The conflist of conf/, with the runtime folder in it where that is not the usual one. */
export function conflistFor(runDir: string): string {
  const text = readConf('10-tollgate.conflist');
  if (runDir === '/run/tollgate') return text;
  return text.replace('"type": "tollgate",', `"type": "tollgate",\n      "runDir": ${JSON.stringify(runDir)},`);
}
