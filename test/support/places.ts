/** Paths of the programs under test, and of their state on the hosts of tests. */
import { accessSync, constants } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The executable under test: $TOLLGATE, or what build.sh makes. */
export const tollgate = process.env['TOLLGATE'] ?? fileURLToPath(new URL('../../dist/tollgate', import.meta.url));
export const tollgateDir = dirname(tollgate);
/** Debian's containernetworking-plugins. */
export const peerDir = '/usr/lib/cni';

for (const file of [tollgate, `${tollgateDir}/tollgate-ipam`, `${tollgateDir}/tools/launcher`]) {
  try {
    accessSync(file, constants.X_OK);
  } catch {
    throw new Error(`${file} is not there: run ./build.sh first, or set TOLLGATE to an executable`);
  }
}

/** Paths of tollgate's state on the hosts of tests. */
export const stateDir = '/run/test/state';
export const runDir = '/run/test/run';
export const policies = '/run/test/policies';
