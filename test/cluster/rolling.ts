/** A Deployment behind a Service restarts while it is asked: on a node of ours, and on one of the reference plugin ptp. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { until } from '../support/until.ts';
import { nodePlace } from './addresses.ts';
import type { KubeObject, Pod } from './api.ts';
import { Asker } from './asker.ts';
import { type KubeCluster, namespaceOf, patient, podOf } from './cluster.ts';
import { ANSWER, SILENCE } from './patience.ts';

const namespace = 'rolling';
const peer = { name: 'node4', place: nodePlace(40) } as const;
/** By what plugs their pods in. */
const nodes = { tollgate: 'node1', ptp: peer.name } as const;
type Network = keyof typeof nodes;
const networks = Object.keys(nodes) as readonly Network[];
/** Seconds, by which kube-proxy has heard of a pod that goes, on a busy machine too. */
const LINGERS = 20;

/** Requests while pods were exchanged, those of them that got nothing, and those of 20 afterwards that got nothing. */
interface Found {
  readonly asked: number;
  readonly lost: number;
  /** For which they were asked. */
  readonly seconds: number;
  readonly lostAfterwards: number;
}

interface Deployment extends KubeObject {
  readonly metadata: KubeObject['metadata'] & { readonly generation: number };
  readonly spec: { readonly replicas: number };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly updatedReplicas?: number;
    readonly availableReplicas?: number;
    readonly replicas?: number;
  };
}

/** @param lingers seconds for which a pod goes on serving after it was told to end */
function deploymentOf(network: Network, lingers: number, revision: string): KubeObject {
  const container = {
    readinessProbe: { tcpSocket: { port: 80 }, periodSeconds: 1, ...patient },
    ...(lingers ? { lifecycle: { preStop: { sleep: { seconds: lingers } } } } : {}),
  };
  const pod = podOf({ namespace, name: network, labels: { app: network }, node: nodes[network], container });
  const template = {
    metadata: { labels: { app: network }, annotations: { revision } },
    spec: { ...(pod['spec'] as object), terminationGracePeriodSeconds: LINGERS + 30 },
  };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { namespace, name: network },
    spec: { replicas: 3, selector: { matchLabels: { app: network } }, template },
  };
}

const serviceOf = (network: Network): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { namespace, name: network },
  spec: { selector: { app: network }, ports: [{ port: 80 }] },
});

export function rolling(cluster: () => KubeCluster): void {
  suite('a Deployment behind a Service restarts while it is asked', () => {
    const clients = new Map<Network, Pod>();
    const addresses = new Map<Network, string>();

    async function rollOut(network: Network, lingers: number, revision: string): Promise<void> {
      await cluster().api.apply(deploymentOf(network, lingers, revision));
      const path = `/apis/apps/v1/namespaces/${namespace}/deployments/${network}`;
      const isDone = ({ metadata, spec, status }: Deployment) =>
        status?.observedGeneration === metadata.generation &&
        [status.updatedReplicas, status.availableReplicas, status.replicas].every(count => count === spec.replicas);
      await cluster().until<Deployment>(path, 'rolled out', isDone);
    }

    before(async () => {
      const { api } = cluster();
      await cluster().addNode('ptp', peer);
      await api.apply(namespaceOf(namespace));
      for (const network of networks) {
        const service = (await api.apply(serviceOf(network))) as KubeObject & { spec: { clusterIP: string } };
        addresses.set(network, service.spec.clusterIP);
        clients.set(network, await cluster().run({ namespace, name: `client-${network}`, node: nodes[network] }));
      }
    });
    after(async () => {
      await cluster().deleteNamespace(namespace);
      await cluster().removeNode(peer.name);
    });

    const askOnce = (network: Network, patience: number) =>
      Asker.pod(cluster(), clients.get(network)!).ask(
        { transport: 'tcp', address: addresses.get(network)!, port: 80 },
        patience,
      );

    /** One request after the other, until it is told to end. @param patience milliseconds */
    function askOn(network: Network, patience: number): () => Promise<Omit<Found, 'lostAfterwards'>> {
      const started = performance.now();
      let isGoing = true;
      const asking = (async () => {
        let [asked, lost] = [0, 0];
        for (; isGoing; asked++) if (!(await askOnce(network, patience))) lost++;
        return { asked, lost, seconds: Math.round((performance.now() - started) / 1000) };
      })();
      return async () => {
        isGoing = false;
        return await asking;
      };
    }

    /** Both at once, under the same load of the machine. */
    async function restart(lingers: number): Promise<Readonly<Record<Network, Found>>> {
      const each = networks.map(async network => {
        await rollOut(network, lingers, 'before');
        await until('the Service to answer', () => askOnce(network, SILENCE));
        // Where requests are lost, each is waited for.
        const end = askOn(network, lingers ? ANSWER : 5000);
        await rollOut(network, lingers, 'after');
        await until('the old pods to be gone', async () => (await podsOf(network)).length === 3);
        await until('kube-proxy to have heard of it', () => isHeard(network));
        const during = await end();
        const answers = await Promise.all(Array.from({ length: 20 }, () => askOnce(network, ANSWER)));
        return [network, { ...during, lostAfterwards: answers.filter(answer => !answer).length }] as const;
      });
      return Object.fromEntries(await Promise.all(each)) as Record<Network, Found>;
    }

    const podsOf = async (network: Network): Promise<readonly Pod[]> => {
      const pods = await cluster().api.list<Pod>(`/api/v1/namespaces/${namespace}/pods`);
      return pods.filter(({ metadata }) => metadata.labels?.['app'] === network);
    };

    /** In the client's node the Service leads to the pods that are there, and to no others. */
    async function isHeard(network: Network): Promise<boolean> {
      const rules = await cluster().nodes.get(nodes[network])!.host.sh('nft list table ip kube-proxy');
      const chain =
        new RegExp(`chain service-\\w+-${namespace}/${network}/tcp/ \\{.*?\\n\\t\\}`, 's').exec(rules)?.[0] ?? '';
      const led = [...chain.matchAll(/__([\d.]+)\/80/g)].map(([, address]) => address);
      const there = (await podsOf(network)).map(({ status }) => status.podIP);
      return isDeepStrictEqual(led.sort(), there.sort());
    }

    const told = (of: object): string => JSON.stringify(of).replaceAll('"', '');

    test(`pods that linger for ${LINGERS} seconds lose no request`, async t => {
      const found = await restart(LINGERS);
      t.diagnostic(told(found));
      for (const network of networks) {
        assert.ok(found[network].asked > 10);
        assert.equal(found[network].lost, 0, network);
      }
    });

    test('pods that end at once lose some of either until kube-proxy has heard of it, and none afterwards', async t => {
      const found = await restart(0);
      t.diagnostic(told(found));
      for (const network of networks) {
        assert.ok(found[network].asked > 10);
        assert.equal(found[network].lostAfterwards, 0, network);
      }
    });
  });
}
