/** Pods, Services before them, and those who ask: from pods, from a node, and from outside. */
import { isIP } from 'node:net';
import type { Host } from '../support/host.ts';
import { until } from '../support/until.ts';
import type { KubeObject, Pod } from './api.ts';
import { type Answer, Asker, type Family, startOutside, type Target, type Transport } from './asker.ts';
import { type KubeCluster, namespaceOf, type PodOptions } from './cluster.ts';
import { SILENCE } from './patience.ts';

const namespace = 'services';

const podsOf: readonly PodOptions[] = [
  { namespace, name: 'web-1', labels: { app: 'web' }, node: 'node1' },
  { namespace, name: 'web-2', labels: { app: 'web' }, node: 'node2' },
  {
    namespace,
    name: 'solo',
    labels: { app: 'solo' },
    node: 'node1',
    container: {
      ports: [
        { name: 'http', containerPort: 80, hostPort: 18080 },
        { name: 'other', containerPort: 81, hostPort: 18081, protocol: 'UDP' },
      ],
    },
  },
  { namespace, name: 'client', labels: { app: 'client' }, node: 'node1' },
  { namespace, name: 'stranger', labels: { app: 'stranger' }, node: 'node2' },
];

interface ServiceSpec {
  readonly clusterIPs: readonly string[];
  readonly ports: readonly { readonly nodePort?: number }[];
}
interface Service extends KubeObject {
  readonly spec: ServiceSpec;
}

const serviceOf = (name: string, app: string, more: object = {}): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { namespace, name },
  spec: {
    ipFamilyPolicy: 'RequireDualStack',
    selector: { app },
    ports: [
      { name: 'http', port: 80, targetPort: 'http' },
      { name: 'udp', port: 90, targetPort: 81, protocol: 'UDP' },
    ],
    ...more,
  },
});

const services: readonly KubeObject[] = [
  serviceOf('web', 'web', { type: 'NodePort' }),
  serviceOf('solo', 'solo', { type: 'NodePort' }),
  serviceOf('local', 'solo', { type: 'NodePort', externalTrafficPolicy: 'Local' }),
  serviceOf('sticky', 'web', { sessionAffinity: 'ClientIP' }),
  serviceOf('headless', 'web', { clusterIP: 'None' }),
];

const every: readonly (readonly [Transport, Family])[] = [
  ['tcp', 4],
  ['tcp', 6],
  ['udp', 4],
  ['udp', 6],
];

/** Of one way to ask: by which transport and family, and what came back. */
export interface Found {
  readonly way: string;
  readonly answer: Answer | undefined;
}

const ofFamily = (addresses: readonly string[], family: Family): string =>
  addresses.find(address => isIP(address) === family)!;

export class ServiceWorld implements Disposable {
  readonly cluster: KubeCluster;
  readonly #pods: ReadonlyMap<string, Pod>;
  readonly #services: ReadonlyMap<string, Service>;
  readonly outside: Host;

  static async start(cluster: KubeCluster): Promise<ServiceWorld> {
    const { api } = cluster;
    await api.apply(namespaceOf(namespace));
    const made = await Promise.all(services.map(async service => (await api.apply(service)) as Service));
    const pods = await cluster.runAll(podsOf);
    const named = <T extends KubeObject>(all: readonly T[]) => new Map(all.map(each => [each.metadata.name, each]));
    const world = new ServiceWorld(cluster, named(pods), named(made), await startOutside(cluster));
    await until('every node to know every Service', () => world.#isServed());
    return world;
  }

  async #isServed(): Promise<boolean> {
    const flows = ['client', 'stranger'].flatMap(from =>
      ['web', 'solo', 'local', 'sticky'].map(to => [from, to] as const),
    );
    const found = await Promise.all(flows.map(async ([from, to]) => await this.ask(from, to, SILENCE)));
    return found.flat().every(({ answer }) => answer !== undefined);
  }

  private constructor(
    cluster: KubeCluster,
    pods: ReadonlyMap<string, Pod>,
    services: ReadonlyMap<string, Service>,
    outside: Host,
  ) {
    this.cluster = cluster;
    this.#pods = pods;
    this.#services = services;
    this.outside = outside;
  }

  [Symbol.dispose](): void {
    this.outside[Symbol.dispose]();
  }

  pod(name: string): Pod {
    return this.#pods.get(name)!;
  }

  address(name: string, family: Family): string {
    return ofFamily(
      this.pod(name).status.podIPs!.map(({ ip }) => ip),
      family,
    );
  }

  clusterIP(service: string, family: Family): string {
    return ofFamily(this.#services.get(service)!.spec.clusterIPs, family);
  }

  #asker(name: string): Asker {
    const pod = this.#pods.get(name);
    if (pod) return Asker.pod(this.cluster, pod);
    return Asker.node(name === 'outside' ? { host: this.outside } : this.cluster.nodes.get(name)!);
  }

  /**
   * @param to `pod NAME`, `SERVICE` by its cluster addresses, `SERVICE@NODE` by the node's port, or `hostPort@NODE`
   */
  target(to: string, transport: Transport, family: Family): Target {
    const [what = '', node] = to.split('@');
    if (what.startsWith('pod '))
      return { transport, address: this.address(what.slice(4), family), port: transport === 'tcp' ? 80 : 81 };
    if (node === undefined)
      return { transport, address: this.clusterIP(what, family), port: transport === 'tcp' ? 80 : 90 };
    const place = this.cluster.nodes.get(node)!.place;
    const address = family === 4 ? place.v4 : place.v6;
    if (what === 'hostPort') return { transport, address, port: transport === 'tcp' ? 18080 : 18081 };
    const { ports } = this.#services.get(what)!.spec;
    return { transport, address, port: ports[transport === 'tcp' ? 0 : 1]!.nodePort! };
  }

  /** By both transports and both families. */
  async ask(from: string, to: string, patience: number): Promise<readonly Found[]> {
    const asker = this.#asker(from);
    return await Promise.all(
      every.map(async ([transport, family]) => ({
        way: `${transport}${family}`,
        answer: await asker.ask(this.target(to, transport, family), patience),
      })),
    );
  }

  async askOnce(from: string, to: string, family: Family, patience: number): Promise<Answer | undefined> {
    return await this.#asker(from).ask(this.target(to, 'tcp', family), patience);
  }
}
