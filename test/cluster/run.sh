#!/usr/bin/env bash
# npm run test:cluster: a Kubernetes cluster of this machine's own, and the proofs on it.
#   npm run test:cluster [-- [--kubernetes=1.20] [--runtime=crio] [--suites=none|some|all] [PATTERN]]
#     PATTERN          only the tests whose names match
#     --kubernetes=…   1.34 (the default) or 1.20, the oldest that is supported
#     --runtime=…      of all nodes that ask for no other: containerd (the default), or crio
#     --suites=…       how much of Kubernetes' own network tests: what fits into CI is the default; JUnit's results and a
#                      summary are in dist/cluster-suites; all: the conformance suite of ClusterNetworkPolicy besides
# Kubernetes and CRI-O are built once (see build.sh). All that runs, runs in namespaces for mounts, processes and the network
# that end with this script, however it ends.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

fail() {
  echo "test:cluster: $*" >&2
  exit 1
}

release=1.34 runtime=containerd suites=some entry=test/cluster/main.ts
words=()
for word in "$@"; do
  case $word in
    --kubernetes=*) release=${word#*=} ;;
    --runtime=containerd | --runtime=crio) runtime=${word#*=} ;;
    --suites=none | --suites=some | --suites=all) suites=${word#*=} ;;
    --json | --brief | --quick) words+=("$word") ;;
    -h | --help) sed -n '1d; /^[^#]/q; s/^# \{0,1\}//p' "$0" && exit ;;
    -*) fail "unknown option $word: there are --kubernetes=1.34|1.20, --runtime=containerd|crio and --suites=none|some|all" ;;
    bench) entry=test/cluster/bench.ts ;;
    engines) entry=test/bench/engines/main.ts ;;
    *) words+=("$word") ;;
  esac
done
[[ $entry != test/cluster/main.ts ]] || ((${#words[@]} <= 1)) || fail "takes one PATTERN, which may be '${words[0]}|${words[1]}'"
[[ $release == 1.20 || $release == 1.34 ]] || fail "Cannot run Kubernetes $release: there is --kubernetes=1.34, and 1.20"
[[ $release != 1.20 || $runtime != crio ]] || fail "Cannot run CRI-O under Kubernetes 1.20: take another release"

bash test/setup.sh "cluster-$release"
for controller in memory pids devices freezer cpuset; do
  mountpoint -q "/sys/fs/cgroup/$controller" ||
    fail "kubelet needs cgroups of version 1 here, and there is no /sys/fs/cgroup/$controller (boot with systemd.unified_cgroup_hierarchy=0)"
done
TOLLGATE_CLUSTER_BIN=$(bash test/cluster/build.sh "$release")
if [[ $runtime == crio || $entry == test/cluster/main.ts ]] && [[ $release != 1.20 ]]; then
  TOLLGATE_CLUSTER_CRIO=$(bash test/cluster/build.sh crio)
  export TOLLGATE_CLUSTER_CRIO
fi
if [[ $entry == test/cluster/main.ts && $suites == all && $release != 1.20 ]]; then
  TOLLGATE_CLUSTER_CONFORMANCE=$(bash test/cluster/conformance/build.sh)
  export TOLLGATE_CLUSTER_CONFORMANCE
fi
if [[ $entry == test/bench/engines/* ]]; then
  bash test/setup.sh engines
  TOLLGATE_BENCH_ENGINES=$(bash test/bench/engines/build.sh)
  export TOLLGATE_BENCH_ENGINES
  "${CC:-cc}" -O2 -Wall test/bench/both.c -o dist/tools/both
fi

# One for each run, in which nodes have theirs. No namespace takes cgroups away.
make_cgroups() {
  local controller
  for controller in /sys/fs/cgroup/*/; do
    [[ ! -L ${controller%/} ]] || continue
    mkdir "$controller$1"
    # A set of processors is empty until it is told; those below have the same.
    [[ ! -e $controller$1/cpuset.cpus ]] || {
      for file in cpuset.cpus cpuset.mems; do cat "$controller$file" >"$controller$1/$file"; done
      echo 1 >"$controller$1/cgroup.clone_children"
    }
  done
}
ids_of_containers() { # the folder of a run
  grep -ohE '\b[0-9a-f]{64}\b' "$1"/*-containerd.log 2>/dev/null | sort -u || true
}
# CRI-O puts those of containers into the node's. containerd puts them into one that all nodes of the machine share: which
# ones are ours, its log tells.
sweep_cgroups() { # the folder of a run
  local id
  find /sys/fs/cgroup/*/"$(basename "$1")" -depth -type d -exec rmdir {} + 2>/dev/null || true
  ids_of_containers "$1" | while read -r id; do
    rmdir /sys/fs/cgroup/*/k8s.io/"$id" 2>/dev/null || true
  done
  rmdir /sys/fs/cgroup/*/k8s.io 2>/dev/null || true
}
cgroups_left() {
  compgen -G "/sys/fs/cgroup/*/$(basename "$scratch")" || true
  ids_of_containers "$scratch" | while read -r id; do
    compgen -G "/sys/fs/cgroup/*/k8s.io/$id" || true
  done
}

# Of runs that were killed: the folder's name tells whose it is.
for folder in "${TMPDIR:-/tmp}"/tollgate-cluster-*; do
  owner=${folder##*tollgate-cluster-}
  [[ -d $folder && ! -d /proc/${owner%%-*} ]] || continue
  sweep_cgroups "$folder"
  rm -rf "$folder"
done

scratch=$(mktemp -d -t "tollgate-cluster-$$-XXXXXX")
finish() {
  local status=$?
  # timeout(1) sends its signal twice: the second one must not end this half-way.
  trap - EXIT
  trap '' INT TERM
  [[ -z ${inhabitants:-} ]] || kill -9 "$inhabitants" 2>/dev/null || true
  # Processes of the namespace end after its first one, on a busy machine a good while.
  local end=$((SECONDS + 120))
  sweep_cgroups "$scratch"
  while [[ -n $(cgroups_left) ]] && ((SECONDS < end)); do
    sleep 0.1
    sweep_cgroups "$scratch"
  done
  if [[ -n $(cgroups_left) ]]; then
    echo 'test:cluster: these cgroups are left:' >&2
    cgroups_left >&2
    status=1
  fi
  if ((status)); then
    rm -rf dist/cluster-logs
    cp -r "$scratch" dist/cluster-logs
    echo 'test:cluster: logs are in dist/cluster-logs' >&2
  fi
  rm -rf "$scratch"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

make_cgroups "$(basename "$scratch")"
for program in pod sctp; do
  gcc -static -Os -Wall -Wextra -Werror -o "$scratch/$program" "test/cluster/$program.c"
done
case $(uname -m) in aarch64) arch=arm64 ;; *) arch=x64 ;; esac
export TOLLGATE=${TOLLGATE:-$PWD/dist/tollgate} TOLLGATE_CLUSTER_BIN TOLLGATE_CLUSTER_SCRATCH=$scratch
export TOLLGATE_CLUSTER_RELEASE=$release TOLLGATE_CLUSTER_RUNTIME=$runtime TOLLGATE_CLUSTER_SUITES=$suites TOLLGATE_CLUSTER_CGROUP=/${scratch##*/}
# A checkout below one of the folders that are hidden must stay in sight.
# shellcheck disable=SC2016 # expanded inside
inside='for d in /run /var/lib; do mount -t tmpfs tmpfs $d; done
  [ -e "$PWD/package.json" ] || { mkdir -p "$PWD"; mount --bind . "$PWD"; cd "$PWD"; }
  ip link set lo up; exec "$@"'
command=("$PWD/node_modules/node-linux-$arch/bin/node" --disable-warning=ExperimentalWarning --test-reporter=spec)
if [[ $entry != test/cluster/main.ts ]]; then
  command+=("$entry" "${words[@]}")
else
  ((${#words[@]})) && command+=("--test-name-pattern=${words[0]}")
  command+=("$entry")
fi
setpriv --pdeathsig KILL unshare --mount --net --pid --fork --kill-child=KILL --mount-proc --propagation private \
  bash -ec "$inside" cluster "${command[@]}" &
# In the foreground it would keep signals from us.
inhabitants=$!
wait "$inhabitants"
