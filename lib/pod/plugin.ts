import { readFileSync } from 'node:fs';
import manifest from '../../package.json' with { type: 'json' };
import { CniError, codes, errorObject } from '../cni/error.ts';
import { parseRequest, type Role } from '../cni/request.ts';
import { aboutText, newestVersion, versionResult } from '../cni/version.ts';

/**
 * One CNI call from this process's environment and stdin, answered on its stdout.
 * @returns the exit code; every failure is an error object on stdout, and nothing is thrown
 */
export async function plugin(role: Role): Promise<number> {
  try {
    const request = parseRequest(process.env, () => readFileSync(0, 'utf8'), role);
    if (request.verb === 'about') process.stderr.write(aboutText(role, manifest.version));
    else if (request.verb === 'VERSION') process.stdout.write(`${JSON.stringify(versionResult())}\n`);
    else throw new CniError(codes.internal, `Cannot ${request.verb} yet: this build has only the door`);
    return 0;
  } catch (error) {
    process.stdout.write(`${JSON.stringify(errorObject(error, newestVersion))}\n`);
    return 1;
  }
}
