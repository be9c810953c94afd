/** What dies and comes back under traffic opens nothing, and breaks nothing that is allowed. */
import assert from 'node:assert/strict';
import { before, suite, test } from 'node:test';
import { until } from '../support/until.ts';
import type { Pod } from './api.ts';
import { type KubeCluster, namespaceOf, policyOf } from './cluster.ts';
import { ANSWER, type AskFlow, settle, verdictsAre } from './patience.ts';
import { defaultRuntime } from './runtime.ts';
import { Connection, Knocking, Visitors } from './traffic.ts';

/** "Try again later" of the CNI specification. */
const TRY_AGAIN_LATER = 11;

interface Death {
  readonly name: string;
  /** Kills, looks around, and starts again. */
  readonly run: (cluster: KubeCluster, whileAway: () => Promise<void>) => Promise<void>;
}

const deaths: readonly Death[] = [
  {
    name: 'the agent',
    run: async ({ node }, whileAway) => {
      await node.agent.kill();
      await whileAway();
      assert.equal((await node.addUnheardOf()).code, TRY_AGAIN_LATER);
      node.agent.start();
    },
  },
  {
    name: 'the API server, and meanwhile the agent',
    run: async ({ node, control }, whileAway) => {
      await control.apiServer.end('SIGKILL');
      await whileAway();
      const failure = await node.addUnheardOf();
      assert.equal(failure.code, TRY_AGAIN_LATER, failure.msg);
      await node.agent.kill();
      node.agent.start();
      await until('the agent to look for the API server', () => /Lost the watch/.test(node.agent.tail(10)));
      await whileAway();
      await control.startApiServer();
    },
  },
  {
    name: defaultRuntime.name,
    run: async ({ node }, whileAway) => {
      await node.runtime.end('SIGKILL');
      await whileAway();
      await node.startRuntime();
    },
  },
];

export function restarts(cluster: () => KubeCluster): void {
  suite('restarts under traffic', () => {
    const pods = new Map<string, Pod>();
    const pod = (name: string): Pod => pods.get(name)!;
    const reaches: AskFlow = (from, patience) => cluster().reaches(pod(from), pod('web'), { patience });
    let count = 0;

    before(async () => {
      const { api } = cluster();
      await api.apply(namespaceOf('calm'));
      const from = [{ podSelector: { matchLabels: { app: 'client' } } }];
      await api.apply(
        policyOf('calm', 'clients', { podSelector: { matchLabels: { app: 'web' } }, ingress: [{ from }] }),
      );
      const node = cluster().node.name;
      const all = ['web', 'client', 'stranger'].map(name => ({ namespace: 'calm', name, labels: { app: name }, node }));
      for (const made of await cluster().runAll(all)) pods.set(made.metadata.name, made);
      await settle({ client: true, stranger: false }, reaches);
    });

    async function holds(): Promise<void> {
      // Who is allowed gets through, and who is denied does not.
      await verdictsAre({ client: true, stranger: false }, reaches);
    }

    for (const { name, run } of deaths) {
      test(`${name}: killed and started again, it opens nothing and breaks no connection`, async () => {
        await holds();
        const visitors = new Visitors(cluster(), pod('web'));
        using connection = await Connection.open(cluster(), pod('client'), pod('web'));
        using allowed = new Knocking(cluster(), pod('client'), pod('web'), { interval: 20, patience: ANSWER });
        using denied = new Knocking(cluster(), pod('stranger'), pod('web'));
        await run(cluster(), holds);
        // All is well again: a new pod of the allowed ones comes up, and gets through.
        const fresh = {
          ...{ namespace: 'calm', name: `fresh-${++count}`, labels: { app: 'client' } },
          node: cluster().node.name,
        };
        pods.set(fresh.name, await cluster().run(fresh));
        await settle({ [fresh.name]: true }, reaches);
        await holds();
        await connection.goesOn();
        const [talk, letIn, kept] = await Promise.all([connection.end(), allowed.end(), denied.end()]);
        assert.ok(talk.echoes > 0);
        assert.deepEqual(
          letIn.filter(({ isEchoed }) => !isEchoed),
          [],
          'lost',
        );
        assert.ok(letIn.length > 0 && kept.length > 0);
        assert.deepEqual(
          kept.filter(({ isEchoed }) => isEchoed),
          [],
          'let through',
        );
        assert.ok(!visitors.seen.has(pod('stranger').status.podIP!), 'not one packet has come through');
      });
    }
  });
}
