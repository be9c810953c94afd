/** What a node's kubelet has its pods run by: containerd, or CRI-O. */
import type { Json } from '../support/cni.ts';
import { kubernetes } from './daemon.ts';
import { sandboxImage } from './images.ts';
import { release } from './release.ts';

export interface Runtime {
  readonly name: string;
  /** Of its CRI. */
  readonly socket: string;
  readonly command: readonly string[];
  /** What it reads, by path. */
  readonly files: Readonly<Record<string, string>>;
  /** Ends with 0 once the runtime answers. */
  readonly probe: readonly string[];
  /** Loads the images of an archive as `docker save` makes it. @param archive path */
  readonly load: (archive: string) => readonly string[];
  /** Of its kubelet, beside what all have. */
  readonly kubelet: Json;
}

const PATH = `PATH=${kubernetes}:/usr/sbin:/usr/bin:/sbin:/bin`;

const { containerd: containerdProgram, ctr } = release.programs;

const containerd: Runtime = {
  name: 'containerd',
  socket: '/run/containerd/containerd.sock',
  command: ['env', PATH, containerdProgram, '-c', '/run/containerd.toml'],
  files: { '/run/containerd.toml': release.containerd },
  probe: [ctr, 'version'],
  load: archive => [ctr, '-n', 'k8s.io', 'images', 'import', '--snapshotter', release.snapshotter, archive],
  kubelet: {},
};

/** The folder of CRI-O's programs; undefined where no node runs it. */
const crioDir = process.env['TOLLGATE_CLUSTER_CRIO'];
/** The network that comes with CRI-O's packages. */
export const crioNetwork = `${crioDir}/10-crio-bridge.conflist`;
/** Under the name that is CRI-O's own, kubelet would ask the disk of the node, which a node in memory has none of. */
const crioSocket = '/run/crio/cri.sock';
const storage = ['--root', '/var/lib/containers/storage', '--runroot', '/run/containers/storage'];

const crioConfig = `[crio]
root = "/var/lib/containers/storage"
runroot = "/run/containers/storage"
storage_driver = "overlay"
version_file = "/run/crio/version"
clean_shutdown_file = "/run/crio/clean.shutdown"
[crio.api]
listen = "${crioSocket}"
[crio.runtime]
default_runtime = "runc"
cgroup_manager = "cgroupfs"
conmon_cgroup = "pod"
pinns_path = "${crioDir}/pinns"
apparmor_profile = "unconfined"
[crio.runtime.runtimes.runc]
runtime_path = "${import.meta.dirname}/crio/runc"
runtime_root = "/run/runc"
monitor_path = "/usr/bin/conmon"
[crio.image]
pause_image = "${sandboxImage}"
pause_command = ""
signature_policy = "/run/crio-policy.json"
[crio.network]
network_dir = "/run/cni/net.d"
plugin_dirs = ["/run/cni/bin"]
`;

export const crio: Runtime = {
  name: 'crio',
  socket: crioSocket,
  command: ['env', PATH, `${crioDir}/crio`, '--config=/run/crio.conf', '--config-dir='],
  files: {
    '/run/crio.conf': crioConfig,
    '/run/crio-policy.json': JSON.stringify({ default: [{ type: 'insecureAcceptAnything' }] }),
  },
  probe: [`${crioDir}/crio`, 'status', `--socket=${crioSocket}`, 'info'],
  load: archive => ['podman', ...storage, '--storage-driver', 'overlay', 'load', '--input', archive],
  // Where kubelet names no cgroup, CRI-O puts its monitors' into the root, and leaves them there.
  kubelet: { cgroupsPerQOS: true },
};

/** Of nodes that ask for no other: as run.sh was told. */
export const defaultRuntime: Runtime = process.env['TOLLGATE_CLUSTER_RUNTIME'] === 'crio' ? crio : containerd;
