#!/usr/bin/env bash
# Builds the conformance suite of ClusterNetworkPolicy out of Go modules, once a machine: prints its program.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
cache=${TOLLGATE_CLUSTER_CACHE:-${XDG_CACHE_HOME:-/var/cache}/tollgate}
sum=$(cat build.sh go.* ./*.go | sha256sum)
program=$cache/conformance-${sum:0:8}

[[ -x $program ]] || {
  mkdir -p "$cache"
  exec 9>"$cache/lock-conformance"
  flock 9
  [[ -x $program ]] || {
    echo 'Building the conformance suite of ClusterNetworkPolicy: once, three minutes of processor time' >&2
    CGO_ENABLED=0 GOFLAGS='-mod=readonly -buildvcs=false -trimpath' \
      go test -c -vet=off -ldflags '-s -w' -o "$program.new" . >&2
    mv "$program.new" "$program"
  }
}
echo "$program"
