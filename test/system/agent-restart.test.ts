/** Pods that start while the agent of a Kubernetes node is being replaced: their ADDs wait for the next one, and none fails. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { type Call, cni, type Outcome } from '../support/cni.ts';
import { KubeHost } from '../support/kube-host.ts';
import { until } from '../support/until.ts';
import { inWays } from '../support/way.ts';

const PODS = 12;

async function calls(host: KubeHost, prefix: string): Promise<readonly Call[]> {
  const names = Array.from({ length: PODS }, (_, i) => `${prefix}${i}`);
  for (const name of names) host.declare({ name });
  return await Promise.all(names.map(async name => host.podCall({ name }, await host.host.pod())));
}

const addAll = (host: KubeHost, given: readonly Call[]): Promise<readonly Outcome[]> =>
  Promise.all(given.map(call => cni(host.host, 'ADD', call)));

const assertAllSucceeded = (outcomes: readonly Outcome[]): void =>
  assert.deepEqual(
    outcomes.filter(({ exit }) => exit !== 0).map(({ stdout }) => stdout),
    [],
  );

/** Milliseconds that the agent is away. */
const AWAY = 2_000;

inWays(['alone', 'launcher'], way => {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const)
    test(`ADDs that come while the agent is away after ${signal} succeed when the next one serves`, async () => {
      await using host = await KubeHost.startCluster({ way });
      using first = await host.startAgent();
      const [before, while_] = [await calls(host, 'before'), await calls(host, 'while')];
      // At SIGTERM these are under way, or wait for their turn. SIGKILL would end calls whose outcome is then unknown.
      const early = addAll(host, before);
      if (signal === 'SIGKILL') await early;
      first.child.kill(signal);
      await until('the agent to be gone', () => first.child.exitCode !== null || first.child.signalCode !== null);
      const late = addAll(host, while_);
      assert.equal(await Promise.race([late, pause(AWAY, 'waits')]), 'waits');
      using _next = await host.startAgent();
      assertAllSucceeded(await early);
      assertAllSucceeded(await late);
    });
});
