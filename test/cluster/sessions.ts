/** Connections through a Service that are open while something changes behind it. */
import { after, before, suite, test } from 'node:test';
import { until } from '../support/until.ts';
import { type KubeCluster, policyOf } from './cluster.ts';
import { SILENCE } from './patience.ts';
import { ServiceWorld } from './service-world.ts';
import { Connection } from './traffic.ts';

export function sessions(cluster: () => KubeCluster): void {
  suite('sessions through a Service', () => {
    let world: ServiceWorld;
    before(async () => {
      world = await ServiceWorld.start(cluster());
    });
    after(async () => {
      world?.[Symbol.dispose]();
      await cluster().deleteNamespace('services');
    });

    for (const family of [4, 6] as const) {
      test(`one goes on when its endpoint leaves the Service, where new ones find nobody (IPv${family})`, async () => {
        const solo = world.pod('solo');
        const target = { address: world.clusterIP('solo', family), port: 80 };
        using connection = await Connection.openTo(cluster(), world.pod('client'), target);
        try {
          await cluster().api.label(solo, { app: 'gone' });
          const answer = () => world.askOnce('client', 'solo', family, SILENCE);
          await until('new ones to find nobody', async () => (await answer()) === undefined);
          await connection.goesOn();
          await connection.end();
        } finally {
          await cluster().api.label(solo, { app: 'solo' });
        }
        await until('the endpoint to be back', () => world.askOnce('client', 'solo', family, SILENCE));
      });

      test(`a policy cuts one that it does not allow (IPv${family})`, async () => {
        const target = { address: world.clusterIP('solo', family), port: 80 };
        using connection = await Connection.openTo(cluster(), world.pod('client'), target, 5000);
        const closed = policyOf('services', 'closed', { podSelector: { matchLabels: { app: 'solo' } } });
        await cluster().api.apply(closed);
        try {
          // It says a word each 10 ms, and gives up where one is not answered for long.
          await until('it to break', () => !connection.isGoing);
        } finally {
          await cluster().api.delete(closed);
        }
        await until('the Service to be open', () => world.askOnce('client', 'solo', family, SILENCE));
      });
    }
  });
}
