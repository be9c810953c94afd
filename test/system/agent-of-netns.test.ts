/** One agent for a network namespace, whatever folders it is given: there is one table in it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import test from 'node:test';
import { policies, startHost, stateDir, tollgate } from '../support/cni.ts';
import type { Host } from '../support/host.ts';
import { until } from '../support/until.ts';

const command = (runDir: string): string[] => [
  ...[tollgate, 'agent', '--no-kubernetes', '--run-dir', runDir],
  ...['--state-dir', stateDir, '--policies', policies],
];

/** Resolves once it serves. */
async function serving(host: Host, runDir: string, netns?: string) {
  const agent = host.spawn(command(runDir), netns === undefined ? {} : { netns });
  let said = '';
  for (const stream of [agent.stdout!, agent.stderr!])
    stream.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
  await until('the agent to serve', () => said.includes('"serving"'));
  return agent;
}

test('a second agent with another runtime folder is told of the first; in another namespace it is one of its own', async () => {
  using host = await startHost();
  const first = await serving(host, '/run/test/one');
  const second = await host.run(command('/run/test/two'));
  assert.equal(second.exit, 3);
  assert.match(
    second.stderr,
    new RegExp(`Cannot be the agent with /run/test/two: process ${first.pid} is the agent of this network namespace`),
  );
  const elsewhere = await serving(host, '/run/test/three', await host.pod());
  for (const agent of [first, elsewhere]) {
    agent.kill('SIGKILL');
    await once(agent, 'exit');
  }
  const third = await serving(host, '/run/test/two');
  third.kill('SIGKILL');
});
