/** The engines that tests run containers by, on a host that has nothing of the machine's: settings, and how they start. */
import assert from 'node:assert/strict';
import { readdirSync, rmdirSync } from 'node:fs';
import type { Host } from './host.ts';
import { until } from './until.ts';

const podmanFiles = {
  'containers.conf': `[containers]
log_driver = "none"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/cni/bin"]
network_config_dir = "/etc/cni/net.d"
`,
  'storage.conf': `[storage]
driver = "vfs"
graphroot = "/var/lib/containers/storage"
runroot = "/run/containers/storage"
`,
  'policy.json': '{"default": [{"type": "insecureAcceptAnything"}]}\n',
};

export async function furnishPodman(host: Host): Promise<void> {
  await host.sh('rm -rf /etc/containers; mkdir /etc/containers');
  for (const [name, text] of Object.entries(podmanFiles)) host.write(`/etc/containers/${name}`, text);
}

/** Folders below the path down to this depth, each before the folders in it. */
export function* folders(path: string, depth: number): Generator<string> {
  if (depth === 0) return;
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    yield `${path}/${entry.name}`;
    yield* folders(`${path}/${entry.name}`, depth - 1);
  }
}

/**
 * podman makes control groups, which no namespace of a host holds, and leaves the folder that they are in.
 * @returns what removes those that came after this call
 */
export function podmanGroups(): () => Promise<void> {
  const groups = () => [...folders('/sys/fs/cgroup', 2)].filter(path => path.endsWith('/libpod_parent'));
  const before = new Set(groups());
  return async () => {
    for (const group of groups().filter(path => !before.has(path))) {
      // The processes of the group end with the host, though not at once.
      await until(`${group} to be empty`, () => {
        try {
          for (const path of [...folders(group, 4)].reverse()) rmdirSync(path);
          rmdirSync(group);
          return true;
        } catch (error) {
          if (error instanceof Error && 'code' in error && error.code === 'EBUSY') return false;
          throw error;
        }
      });
    }
  };
}

const containerdSettings = `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "/run/containerd/containerd.sock"
`;

/** Starts containerd, and returns when it answers. */
export async function startContainerd(host: Host): Promise<void> {
  host.write('/run/containerd.toml', containerdSettings);
  const daemon = host.spawn(['sh', '-c', 'exec containerd -c /run/containerd.toml >/run/containerd.log 2>&1']);
  for (const stream of [daemon.stdin, daemon.stdout, daemon.stderr]) stream!.destroy();
  daemon.unref();
  await until('containerd to answer', async () => {
    assert.equal(daemon.exitCode, null, 'containerd has ended');
    return (await host.run(['ctr', 'version'])).exit === 0;
  });
}
