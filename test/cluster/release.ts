/** What differs between the releases of Kubernetes that the proofs run on: build.sh has made its programs. */
import type { Json } from '../support/cni.ts';
import type { Flags } from './daemon.ts';
import { oldest } from './release-1.20.ts';
import { current } from './release-1.34.ts';

export interface Release {
  readonly name: string;
  /**
   * How the agent comes to the nodes that the cluster starts with: as a program of ours, or by the manifests that are shipped.
   */
  readonly agent: 'program' | 'pod';
  /** Whether kube-proxy and CoreDNS are there; then pods have addresses of both families. */
  readonly hasServices: boolean;
  /** Its API server knows the rules in CEL that definitions of today have. */
  readonly hasCel: boolean;
  /** Nodes that the cluster starts with. */
  readonly nodes: number;
  /** By path or name. */
  readonly programs: Readonly<Record<'etcd' | 'containerd' | 'ctr', string>>;
  readonly apiServer: Flags;
  readonly controllers: Flags;
  readonly containerd: string;
  readonly snapshotter: string;
  /** Besides what both have. @param runtime the URL of its CRI @param cgroup the node's */
  readonly kubelet: {
    readonly flags: (runtime: string) => Flags;
    readonly settings: (runtime: string, cgroup: string) => Json;
  };
  /** Of the node `name`, where kubelet has a user of its own; the administrator where absent. */
  readonly kubeletUser?: (name: string) => string;
}

const releases: Readonly<Record<string, Release>> = { '1.20': oldest, '1.34': current };

/** As run.sh was told. */
export const release: Release = releases[process.env['TOLLGATE_CLUSTER_RELEASE'] ?? '1.34']!;
