/** The API server is slow, or shows another certificate: what agents know goes on, and what is new comes to them. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { before, suite, test } from 'node:test';
import tls from 'node:tls';
import { until } from '../support/until.ts';
import type { Pod } from './api.ts';
import { type KubeCluster, namespaceOf, policyOf } from './cluster.ts';
import { type AskFlow, settle, verdictsAre } from './patience.ts';
import { SlowApi } from './slow-api.ts';
import { Knocking } from './traffic.ts';

/** Each way, in milliseconds: a request takes twice as long. */
const DELAY = 1000;

/** Of the certificate that the API server shows. */
async function serialShown(): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socket = tls.connect({ host: '127.0.0.1', port: 6443, rejectUnauthorized: false }, () => {
    resolve(new X509Certificate(socket.getPeerCertificate().raw).serialNumber);
    socket.destroy();
  });
  socket.on('error', reject);
  return await promise;
}

export function apiWeather(cluster: () => KubeCluster): void {
  suite("the API server's weather", () => {
    const pods = new Map<string, Pod>();
    const pod = (name: string): Pod => pods.get(name)!;
    const reaches: AskFlow = (from, patience) => cluster().reaches(pod(from), pod('web'), { patience });

    before(async () => {
      const { api } = cluster();
      await api.apply(namespaceOf('weather'));
      const from = [{ podSelector: { matchLabels: { app: 'client' } } }];
      await api.apply(
        policyOf('weather', 'clients', { podSelector: { matchLabels: { app: 'web' } }, ingress: [{ from }] }),
      );
      const all = ['web', 'client', 'stranger'].map((app, i) => ({
        ...{ namespace: 'weather', name: app, labels: { app }, node: `node${(i % 2) + 1}` },
      }));
      for (const made of await cluster().runAll(all)) pods.set(made.metadata.name, made);
      await settle({ client: true, stranger: false }, reaches);
    });

    /** A label lets the stranger in, and shuts it out again. */
    async function labelsAreHeard(): Promise<void> {
      for (const [app, isAllowed] of [
        ['client', true],
        ['stranger', false],
      ] as const) {
        await cluster().api.label(pod('stranger'), { app });
        await settle({ stranger: isAllowed }, reaches);
      }
    }

    test(`slow by ${DELAY} ms each way: new pods are gated from their start, labels are heard, nothing opens`, async t => {
      using denied = new Knocking(cluster(), pod('stranger'), pod('web'));
      {
        await using slow = await SlowApi.start(DELAY);
        await until('nodes to ask through the delay', () => slow.count >= 4);
        const late = ['client', 'stranger'].map(app => ({
          ...{ namespace: 'weather', name: `late-${app}`, labels: { app }, node: 'node2' },
        }));
        const started = performance.now();
        for (const made of await cluster().runAll(late)) pods.set(made.metadata.name, made);
        t.diagnostic(`two pods Ready after ${((performance.now() - started) / 1000).toFixed(1)} s`);
        await settle({ 'late-client': true, 'late-stranger': false }, reaches);
        const knocks = await denied.end();
        assert.ok(knocks.length > 0);
        assert.deepEqual(
          knocks.filter(({ isEchoed }) => isEchoed),
          [],
          'let through',
        );
        await labelsAreHeard();
      }
      await labelsAreHeard();
    });

    test('its certificate is exchanged: agents come back to it, and nothing opens meanwhile', async t => {
      const old = await serialShown();
      const { control } = cluster();
      control.renewCertificate();
      await until('it to be shown', async () => (await serialShown()) !== old);
      using denied = new Knocking(cluster(), pod('stranger'), pod('web'));
      await control.apiServer.end('SIGKILL');
      await control.startApiServer();
      t.diagnostic(`the certificate was ${old}, and is ${await serialShown()}`);
      await verdictsAre({ client: true, stranger: false }, reaches);
      const knocks = await denied.end();
      assert.deepEqual(
        knocks.filter(({ isEchoed }) => isEchoed),
        [],
        'let through',
      );
      await labelsAreHeard();
    });
  });
}
