/**
 * The door: who is calling? A container runtime, by the CNI protocol, or a person. Each way loads only what it needs,
 * since a runtime waits for every millisecond of it; the way to the agent, too, only where there may be one.
 */
import { basename } from 'node:path';
import type { NotHandedOver } from '../lib/pod/plugin.ts';

// The launcher, too, calls by the name that it was called by; what else the executable is called does not matter.
const isIpam = basename(process.argv0) === 'tollgate-ipam';
/** kubectl runs `kubectl-tollgate` for `kubectl tollgate`. */
const isKubectlPlugin = basename(process.argv0) === 'kubectl-tollgate';
const isPlugin = isIpam || process.env['CNI_COMMAND'] !== undefined;

/** Reads the arguments that cmd/launcher.c passes where it has asked an agent, and the agent did not take the call. */
const launched = ([word, runDir, why]: readonly string[]): NotHandedOver | undefined =>
  word === '--not-handed-over' && runDir !== undefined && why !== undefined ? { runDir, why } : undefined;

/** Leaves a working directory that has been deleted: the command line cannot be loaded there. */
function leaveDeleted(): void {
  try {
    process.cwd();
  } catch {
    process.chdir('/');
  }
}

async function enter(): Promise<number> {
  if (isPlugin) {
    const { plugin } = await import('../lib/pod/plugin.ts');
    const role = isIpam ? 'tollgate-ipam' : 'tollgate';
    const load = async () => (await import('../lib/rpc/client.ts')).handOver;
    return plugin(role, load, launched(process.argv.slice(2)));
  }
  leaveDeleted();
  const { main } = isKubectlPlugin ? await import('../lib/cli/kubectl/main.ts') : await import('../lib/cli/main.ts');
  return main(process.argv.slice(2));
}

/** Neither of the two throws, unless its modules cannot even be loaded; a runtime wants that, too, as JSON (code 199). */
function collapse(error: unknown): void {
  console.error(error);
  if (isPlugin) console.log(JSON.stringify({ cniVersion: '1.1.0', code: 199, msg: `Cannot start: ${error}` }));
  process.exitCode = 3;
}

enter().then(code => {
  // A runtime waits for the end: by now nothing is under way, and Node would take another 2 ms to tidy up what goes anyway.
  if (isPlugin) process.exit(code);
  process.exitCode = code;
}, collapse);
