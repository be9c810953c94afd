#!/usr/bin/env bash
# npm run test:cluster: a Kubernetes cluster of this machine's own, and the proofs on it.
#   npm run test:cluster [-- PATTERN]   only the tests whose names match
# Kubernetes is built once (see build.sh). All that runs, runs in namespaces for mounts, processes and the network that end
# with this script, however it ends.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

fail() {
  echo "test:cluster: $*" >&2
  exit 1
}

bash test/setup.sh cluster
for controller in memory pids devices freezer cpuset; do
  mountpoint -q "/sys/fs/cgroup/$controller" ||
    fail "kubelet 1.20 needs cgroups of version 1, and there is no /sys/fs/cgroup/$controller (boot with systemd.unified_cgroup_hierarchy=0)"
done
TOLLGATE_CLUSTER_BIN=$(bash test/cluster/build.sh)

# Containers' cgroups are the one thing that no namespace takes away. The name tells whose they are.
cgroups=tollgate-cluster-$$
sweep_cgroups() {
  local folder
  for folder in /sys/fs/cgroup/*/tollgate-cluster-*; do
    [[ -d $folder ]] || continue
    local owner=${folder##*-}
    [[ $owner != "$$" && -d /proc/$owner ]] && continue
    find "$folder" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
}
sweep_cgroups

scratch=$(mktemp -d -t tollgate-cluster-XXXXXX)
finish() {
  local status=$?
  trap - EXIT INT TERM
  # Processes of the namespace end a moment after its first one.
  for _ in {1..100}; do
    sweep_cgroups
    compgen -G "/sys/fs/cgroup/*/$cgroups" >/dev/null || break
    sleep 0.1
  done
  if compgen -G "/sys/fs/cgroup/*/$cgroups"; then
    echo 'test:cluster: these cgroups are left' >&2
    status=1
  fi
  if ((status)); then echo "test:cluster: logs are in $scratch" >&2; else rm -rf "$scratch"; fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

gcc -static -Os -Wall -Wextra -Werror -o "$scratch/pod" test/cluster/pod.c
case $(uname -m) in aarch64) arch=arm64 ;; *) arch=x64 ;; esac
export TOLLGATE=${TOLLGATE:-$PWD/dist/tollgate} TOLLGATE_CLUSTER_BIN TOLLGATE_CLUSTER_SCRATCH=$scratch TOLLGATE_CLUSTER_CGROUPS=$cgroups
# A checkout below one of the folders that are hidden must stay in sight.
# shellcheck disable=SC2016 # expanded inside
inside='for d in /run /var/lib; do mount -t tmpfs tmpfs $d; done
  [ -e "$PWD/package.json" ] || { mkdir -p "$PWD"; mount --bind . "$PWD"; cd "$PWD"; }
  ip link set lo up; exec "$@"'
command=("$PWD/node_modules/node-linux-$arch/bin/node" --disable-warning=ExperimentalWarning --test-reporter=spec)
if [[ ${1:-} == bench ]]; then
  shift
  command+=(test/cluster/bench.ts "$@")
else
  (($#)) && command+=("--test-name-pattern=$1")
  command+=(test/cluster/main.ts)
fi
setpriv --pdeathsig KILL unshare --mount --net --pid --fork --kill-child=KILL --mount-proc --propagation private \
  bash -ec "$inside" cluster "${command[@]}"
