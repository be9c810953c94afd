#!/usr/bin/env bash
# npm run bench: measures the plugin, the gate and what both cost, against peers, in one interleaved run.
#   npm run bench -- [worker] [plugin] [nft] [datapath] [gate] [requests] [tiers] [agent] [--json]
#       TIERS_PODS=4 npm run bench -- tiers   fewer pods on each node than 100
#   npm run bench -- load [GROUP...] [--json]   what load on a node costs: ratios and processor seconds; a group is a file in bench/load/
#       CHURN_PAIRS=2000 npm run bench -- load churn   fewer ADD/DEL pairs than the 20,000 that count; rounded up to a multiple of 2,000
#   npm run bench -- engines [--brief|--quick] [starts] [changes] [paths] [scale] [crowds]   beside other policy engines, on a cluster of its own; an hour
#   npm run bench -- cluster [--json]   from a write to the Kubernetes API to the packets; on a cluster of its own
# A table on stdout (with --json: the same as JSON), and dist/bench.json, .md and -light.svg, -dark.svg for the README; of load:
# dist/load.json and .md.
# Nothing fails on a time.
# Everything happens in namespaces for mounts, processes and the network that end with this script, however it ends.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

case ${1:-} in
  -h | --help) sed -n '1d; /^[^#]/q; s/^# \{0,1\}//p' test/bench.sh && exit ;;
  cluster) shift && exec bash test/cluster/run.sh bench "$@" ;;
  engines) exec bash test/cluster/run.sh "$@" ;;
esac
entry=test/bench/main.ts
if [[ ${1:-} == load ]]; then
  shift
  entry=test/bench/load.ts
fi
bash test/setup.sh bench >&2
for program in calls both; do "${CC:-cc}" -O2 -Wall test/bench/$program.c -o dist/tools/$program; done

case $(uname -m) in aarch64) arch=arm64 ;; *) arch=x64 ;; esac
node=$PWD/node_modules/node-linux-$arch/bin/node
# The list of packages is out of sight inside.
export TOLLGATE_BENCH_PEER
TOLLGATE_BENCH_PEER=$(dpkg-query -W -f='${Version}' containernetworking-plugins 2>/dev/null) || TOLLGATE_BENCH_PEER=
export TOLLGATE_BENCH_REFERENCE
TOLLGATE_BENCH_REFERENCE=$(go version -m dist/tools/reference/ptp 2>/dev/null |
  awk '$2 == "github.com/containernetworking/plugins" { print $3 }') || TOLLGATE_BENCH_REFERENCE=
# A checkout below one of the folders that are hidden must stay in sight.
# shellcheck disable=SC2016 # expanded inside
inside='for d in /run /var/lib; do mount -t tmpfs tmpfs $d; done
  [ -e "$PWD/package.json" ] || { mkdir -p "$PWD"; mount --bind . "$PWD"; cd "$PWD"; }
  mkdir -p /run/netns /run/bench; ip link set lo up
  node=$1; shift; exec "$node" --disable-warning=ExperimentalWarning "$@"'
exec setpriv --pdeathsig KILL unshare --mount --net --pid --fork --kill-child=KILL --mount-proc --propagation private \
  bash -ec "$inside" bench "$node" "$entry" "$@"
