/** Kubernetes 1.20, the oldest that is supported: of Debian's source package, with Debian's etcd and containerd. */
import { pods, services } from './addresses.ts';
import { sandboxImage } from './images.ts';
import type { Release } from './release.ts';

export const oldest: Release = {
  name: '1.20',
  agent: 'program',
  hasServices: false,
  hasCel: false,
  nodes: 1,
  programs: { etcd: 'etcd', containerd: 'containerd', ctr: 'ctr' },
  apiServer: {
    'service-cluster-ip-range': services.v4,
    'authorization-mode': 'RBAC',
    // Its pods find a token where the proofs put one.
    'disable-admission-plugins': 'ServiceAccount',
  },
  controllers: { 'cluster-cidr': pods.v4 },
  containerd: `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${sandboxImage}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/run/cni/bin"
    conf_dir = "/run/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
`,
  snapshotter: 'native',
  kubelet: {
    flags: runtime => ({ 'container-runtime': 'remote', 'container-runtime-endpoint': runtime }),
    settings: () => ({}),
  },
};
