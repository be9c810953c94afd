/** The way from a runtime to the plugin: an option of each host, on which all calls of that host then go. */
import { suite } from 'node:test';
import { keepAgent } from './agent-process.ts';
import type { Host } from './host.ts';
import { peerDir, runDir, tollgate, tollgateDir } from './places.ts';
import { newSeed, random } from './random.ts';

/**
 * `alone`, a process for each call; `launcher`, as after `tollgate install`, with a worker or without one; `worker`, through
 * launchers and a worker; `dying worker`, one that is killed and started again all the time.
 */
export type Way = 'alone' | 'launcher' | 'worker' | 'dying worker';

const inWords: Readonly<Record<Way, string>> = {
  alone: 'a process for each call',
  launcher: 'through launchers',
  worker: 'through launchers and a worker',
  'dying worker': 'through launchers and a worker that is killed all the time',
};

/** Declares tests for each of these ways, in a suite that is called by it. */
export function inWays(ways: readonly Way[], declare: (way: Way) => void): void {
  for (const way of ways) suite(inWords[way], () => declare(way));
}

export const isServed = (way: Way): boolean => way === 'worker' || way === 'dying worker';

/** Path of the plugin that a runtime calls on this host. */
export const binaryOf = (host: Host, plugin = 'tollgate'): string => {
  if (!plugin.startsWith('tollgate')) return `${peerDir}/${plugin}`;
  if (host.way !== 'alone') return `/run/bin/${plugin}`;
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
  if (host.way === 'alone') return host;
  await host.sh(`mkdir /run/bin; cp ${tollgateDir}/tools/launcher /run/bin/tollgate; ln /run/bin/tollgate /run/bin/tollgate-ipam
    ln -s ${tollgate} /run/bin/tollgate-node; echo ${runDir} >/run/bin/tollgate.rundir`);
  if (host.way === 'worker') await keepAgent(host);
  if (host.way === 'dying worker') await keepAgent(host, lifetimes());
  return host;
}

/** True where a worker died and the call's outcome is unknown, so that a runtime calls again. */
export const isAskedAgain = (host: Host, code: unknown): boolean => host.way === 'dying worker' && code === 11;
