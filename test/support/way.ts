/** The way from a runtime to the plugin. */
import test, { type TestContext } from 'node:test';
import { keepAgent } from './agent-process.ts';
import type { Host } from './host.ts';
import { peerDir, runDir, tollgate, tollgateDir } from './places.ts';
import { newSeed, random } from './random.ts';

/**
 * The way in which hosts are called: `alone`, a process for each call; `launcher`, as after `tollgate install`, with a worker or
 * without one; `worker`, through launchers and a worker; `dying worker`, one that is killed and started again all the time.
 */
export type Way = 'alone' | 'launcher' | 'worker' | 'dying worker';
let way: Way = 'alone';
/** Chooses the way for a file that runs the scenarios of another file; to be called before that file is imported. */
export const callThrough = (chosen: Way): void => {
  way = chosen;
};
export const isServed = (): boolean => way === 'worker' || way === 'dying worker';
/** A scenario that no launcher and no worker has a part in. */
export function testAlone(name: string, scenario: (t: TestContext) => Promise<void>): void {
  if (way === 'alone') void test(name, scenario);
}

/** Hosts that have them. */
const launchers = new WeakSet<Host>();
/** Path of the plugin that a runtime calls on this host. */
export const binaryOf = (host: Host, plugin = 'tollgate'): string => {
  if (!plugin.startsWith('tollgate')) return `${peerDir}/${plugin}`;
  if (launchers.has(host)) return `/run/bin/${plugin}`;
  return plugin === 'tollgate' ? tollgate : `${tollgateDir}/${plugin}`;
};

/** Milliseconds that one worker after another lives, up to a second each, by a seed that is printed. */
function lifetimes(): () => number {
  const seed = newSeed();
  console.log(`dying worker: SEED=${seed}`);
  const chance = random(seed);
  return () => 1000 * chance();
}

/** The host, with what the way of its calls needs. */
export async function furnished(host: Host): Promise<Host> {
  if (way === 'alone') return host;
  await host.sh(`mkdir /run/bin; cp ${tollgateDir}/tools/launcher /run/bin/tollgate; ln /run/bin/tollgate /run/bin/tollgate-ipam
    ln -s ${tollgate} /run/bin/tollgate-node; echo ${runDir} >/run/bin/tollgate.rundir`);
  launchers.add(host);
  if (way === 'worker') await keepAgent(host);
  if (way === 'dying worker') await keepAgent(host, lifetimes());
  return host;
}

/** True where a worker died and the call's outcome is unknown, so that a runtime calls again. */
export const isAskedAgain = (code: unknown): boolean => way === 'dying worker' && code === 11;
