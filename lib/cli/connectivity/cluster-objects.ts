/** The objects of a cluster's test: pods of the DaemonSet's own image, beside each other and on another node, and policies. */
import type { AgentPod } from '../kubectl/kubectl.ts';
import { NAMESPACE, PORT } from './checks.ts';
import { TIER_PORTS, tierPolicies } from './tiers.ts';

/** Where each pod runs: beside the client, or on another node. */
const places = {
  client: 'near',
  stranger: 'near',
  open: 'near',
  server: 'near',
  'far-open': 'far',
  'far-server': 'far',
} as const;
type Name = keyof typeof places;

/** `app` is what the policy selects by: `far-server` is a server. */
function podOf(name: Name, node: string, image: string, hostPort: number): object {
  const port = name === 'open' ? { containerPort: PORT, hostPort } : { containerPort: PORT };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: NAMESPACE, name, labels: { app: name.replace('far-', '') } },
    spec: {
      nodeName: node,
      terminationGracePeriodSeconds: 1,
      automountServiceAccountToken: false,
      containers: [
        {
          ...{ name: 'pod', image, imagePullPolicy: 'IfNotPresent' },
          command: ['tollgate', 'test-pod', '--serve', [PORT, ...TIER_PORTS].join(',')],
          ports: [port],
          // It comes from the node, so a pod that gets ready has been reached by it.
          readinessProbe: { httpGet: { path: '/', port: PORT }, periodSeconds: 1, timeoutSeconds: 10 },
        },
      ],
    },
  };
}

const selects = (app: string) => ({ matchLabels: { app } });

export interface ClusterObjectsOptions {
  /** Name of the Service before `open`. */
  readonly service: string;
  readonly image: string;
  readonly hostPort: number;
  /** The server knows ClusterNetworkPolicy. */
  readonly hasTiers: boolean;
}

/** What kubectl makes, in this order: a pod meets its policies. @param agents of the nodes that pods run on: one or two */
export function clusterObjects(
  { service, image, hostPort, hasTiers }: ClusterObjectsOptions,
  [near, far]: readonly AgentPod[],
): readonly object[] {
  const names = (Object.keys(places) as Name[]).filter(name => places[name] === 'near' || far !== undefined);
  const metadata = { namespace: NAMESPACE };
  return [
    {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { ...metadata, name: 'only-client' },
      spec: { podSelector: selects('server'), ingress: [{ from: [{ podSelector: selects('client') }] }] },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { ...metadata, name: service },
      spec: { ipFamilyPolicy: 'PreferDualStack', selector: { app: 'open' }, ports: [{ port: PORT }] },
    },
    ...(hasTiers ? tierPolicies : []),
    ...names.map(name => podOf(name, (places[name] === 'near' ? near : far)!.node, image, hostPort)),
  ];
}
