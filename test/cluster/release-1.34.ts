/** Today's Kubernetes: two families, Services, and everything as a cluster of users has it. */
import { dnsService, pods, services } from './addresses.ts';
import { kubernetes } from './daemon.ts';
import { sandboxImage } from './images.ts';
import type { Release } from './release.ts';

const ranges = (of: { readonly v4: string; readonly v6: string }): string => `${of.v4},${of.v6}`;
export const current: Release = {
  name: '1.34',
  agent: 'pod',
  hasServices: true,
  hasCel: true,
  nodes: 2,
  programs: {
    etcd: `${kubernetes}/etcd`,
    containerd: `${kubernetes}/containerd`,
    ctr: `${kubernetes}/ctr`,
  },
  apiServer: {
    'service-cluster-ip-range': ranges(services),
    'authorization-mode': 'Node,RBAC',
    'enable-admission-plugins': 'NodeRestriction',
    'kubelet-preferred-address-types': 'InternalIP',
  },
  controllers: {
    'cluster-cidr': ranges(pods),
    'service-cluster-ip-range': ranges(services),
    'node-cidr-mask-size-ipv4': 24,
    'node-cidr-mask-size-ipv6': 64,
  },
  containerd: `version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.nri.v1.nri"]
  disable = true
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "${sandboxImage}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/run/cni/bin"]
    conf_dir = "/run/cni/net.d"
`,
  snapshotter: 'overlayfs',
  kubelet: {
    flags: () => ({}),
    settings: (containerRuntimeEndpoint, cgroupRoot) => ({
      containerRuntimeEndpoint,
      cgroupRoot,
      // The machine has those of version 1.
      failCgroupV1: false,
      clusterDNS: [dnsService],
      clusterDomain: 'cluster.local',
    }),
  },
  kubeletUser: name => `system:node:${name}`,
};
