#!/usr/bin/env bash
# The engines that the benchmark compares with, out of Go modules, once a machine: prints the folder that has them.
# kube-router: the newest that the module proxy serves (later ones are refused). kube-network-policies asks the kernel for
# nftables' `queue`, and is built where the kernel has it: the benchmark looks.
set -euo pipefail
kube_router=v2.1.0 kwok=v0.7.0
cache=${TOLLGATE_CLUSTER_CACHE:-${XDG_CACHE_HOME:-/var/cache}/tollgate}
bin=$cache/engines-$kube_router-$kwok

[[ -d $bin ]] || {
  echo "Building kube-router $kube_router and kwok $kwok: once, five minutes of processor time" >&2
  mkdir -p "$cache"
  exec 9>"$cache/lock-engines"
  flock 9
  [[ -d $bin ]] || {
    export GOBIN=$bin.new GOFLAGS='-buildvcs=false' CGO_ENABLED=0
    rm -rf "$GOBIN"
    # Users have them as the compiler makes them: no flags that would make them slower.
    go install -ldflags='-s -w' \
      "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router@$kube_router" >&2
    go install -ldflags='-s -w' "sigs.k8s.io/kwok/cmd/kwok@$kwok" >&2
    mv "$GOBIN" "$bin"
  }
}
echo "$bin"
