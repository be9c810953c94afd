/** What serves Services: kube-proxy's settings, and CoreDNS as a Deployment behind a Service. */
import type { Json } from '../support/cni.ts';
import { dnsService, pods } from './addresses.ts';
import type { KubeObject } from './api.ts';
import { dnsImage } from './images.ts';

export type ProxyMode = 'nftables' | 'iptables';

export const proxySettings = (node: string, mode: ProxyMode): Json => ({
  apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
  kind: 'KubeProxyConfiguration',
  clientConnection: { kubeconfig: '/run/proxy.conf' },
  hostnameOverride: node,
  mode,
  clusterCIDR: `${pods.v4},${pods.v6}`,
  // All but the last are the machine's, and stay as they are.
  conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '1h0m0s' },
});

const rbac = { apiVersion: 'rbac.authorization.k8s.io/v1' } as const;
const api = 'rbac.authorization.k8s.io';

/** The rights of kube-proxy's user. */
export const proxyBinding: KubeObject = {
  ...rbac,
  kind: 'ClusterRoleBinding',
  metadata: { name: 'test-kube-proxy' },
  roleRef: { apiGroup: api, kind: 'ClusterRole', name: 'system:node-proxier' },
  subjects: [{ kind: 'User', name: 'system:kube-proxy', apiGroup: api }],
};

const corefile = `.:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        ttl 5
    }
    hosts {
        192.0.2.100 outside.test
        fallthrough
    }
    cache 5
    reload
}
`;

const labels = { 'k8s-app': 'kube-dns' } as const;
const place = { namespace: 'kube-system', name: 'coredns' } as const;
const ports = [
  { name: 'dns', port: 53, protocol: 'UDP' },
  { name: 'dns-tcp', port: 53, protocol: 'TCP' },
] as const;

/** CoreDNS as clusters have it. */
export const dnsObjects: readonly KubeObject[] = [
  { apiVersion: 'v1', kind: 'ServiceAccount', metadata: place },
  {
    ...rbac,
    kind: 'ClusterRole',
    metadata: { name: 'test-coredns' },
    rules: [
      { apiGroups: [''], resources: ['endpoints', 'services', 'pods', 'namespaces'], verbs: ['list', 'watch'] },
      { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list', 'watch'] },
    ],
  },
  {
    ...rbac,
    kind: 'ClusterRoleBinding',
    metadata: { name: 'test-coredns' },
    roleRef: { apiGroup: api, kind: 'ClusterRole', name: 'test-coredns' },
    subjects: [{ kind: 'ServiceAccount', ...place }],
  },
  { apiVersion: 'v1', kind: 'ConfigMap', metadata: place, data: { Corefile: corefile } },
  {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { ...place, labels },
    spec: {
      replicas: 1,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          serviceAccountName: 'coredns',
          dnsPolicy: 'Default',
          priorityClassName: 'system-cluster-critical',
          containers: [
            {
              name: 'coredns',
              image: dnsImage,
              imagePullPolicy: 'Never',
              command: ['/bin/coredns', '-conf', '/etc/coredns/Corefile'],
              volumeMounts: [{ name: 'conf', mountPath: '/etc/coredns' }],
              ports: ports.map(({ name, port, protocol }) => ({ name, containerPort: port, protocol })),
              readinessProbe: { httpGet: { path: '/ready', port: 8181 }, periodSeconds: 1, timeoutSeconds: 30 },
              livenessProbe: { httpGet: { path: '/health', port: 8080 }, initialDelaySeconds: 60, timeoutSeconds: 30 },
            },
          ],
          volumes: [{ name: 'conf', configMap: { name: 'coredns' } }],
        },
      },
    },
  },
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace: 'kube-system', name: 'kube-dns', labels },
    spec: { clusterIP: dnsService, ipFamilyPolicy: 'PreferDualStack', selector: labels, ports },
  },
];
