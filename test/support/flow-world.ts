/** A small world for the flow tests: three pods here, one elsewhere, and what conntrack says of flows between them. */
import { Attribution, type FlowScene, type Stopwatch, type Stopwatches } from '../../lib/flows/attribution.ts';
import type { Connection } from '../../lib/flows/journal.ts';
import { stagedScene } from '../../lib/flows/staged.ts';
import { addressBytes, parseAddress } from '../../lib/ip/address.ts';
import { Cluster } from '../../lib/policy/evaluate/cluster.ts';
import { readDocuments, worldOf } from '../../lib/policy/manifest/manifest.ts';
import { readYaml } from '../../lib/policy/manifest/yaml.ts';
import type { Pod } from '../../lib/policy/model/model.ts';

export const policies = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { namespace: shop, name: web }
spec:
  podSelector: { matchLabels: { app: web } }
  ingress:
  - from: [{ podSelector: { matchLabels: { app: client } } }]
    ports: [{ port: 80 }]
`;

export const pod = (namespace: string, name: string, address: string, labels: Record<string, string>): Pod => ({
  ...{ namespace, name, addresses: [address], labels: new Map(Object.entries(labels)), namedPorts: [] },
  ...{ hostNetwork: false, finished: false, local: true, uid: `${namespace}/${name}@${address}` },
});

export const web = pod('shop', 'web', '10.0.0.2', { app: 'web' });
export const client = pod('shop', 'client', '10.0.0.3', { app: 'client' });
export const stranger = pod('shop', 'stranger', '10.0.0.4', {});
const far = { ...pod('shop', 'far', '10.0.9.2', { app: 'client' }), local: false };

export function sceneOf(local: readonly Pod[], text = policies): FlowScene {
  const { world } = worldOf(readDocuments(readYaml(text, 'policies.yaml').documents).declared);
  const cluster = new Cluster({ ...world, pods: [...local, far] });
  return {
    ...{ cluster, staged: stagedScene(cluster, world.staged) },
    pods: new Map(local.flatMap(each => each.addresses.map(address => [address, each] as const))),
    own: new Set(['10.0.0.1']),
    enforceEgressToNode: false,
  };
}

const standing: Stopwatch = () => 0;

/** One object, whose `now` a test replaces. */
export function attributionOf(
  place: { now: FlowScene },
  { time = standing, work = standing }: Partial<Stopwatches> = {},
  budget?: number,
): Attribution {
  return new Attribution(() => place.now, { time, work }, budget);
}

export const bytes = (text: string): string => String.fromCharCode(...addressBytes(parseAddress(text)!));

export function connection(
  from: string,
  to: string,
  { id = 1, ...more }: Partial<Omit<Connection, 'from' | 'to'>> = {},
): Connection {
  const [source, target] = [bytes(from), bytes(to)];
  return {
    ...{ id, protocol: 6, from: source, to: target, sourcePort: 40_000, port: 80 },
    ...{ sentTo: target, sentToPort: 80, seenFrom: source, seenFromPort: 40_000 },
    ...more,
  };
}
