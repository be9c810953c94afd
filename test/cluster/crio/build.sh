#!/usr/bin/env bash
# Builds CRI-O out of its Go module, once a machine: prints the folder that has its programs. What it needs besides is Debian's.
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
module=github.com/cri-o/cri-o version=v1.34.0 sum=h1:ux2URwAyENy5e5hD9Z95tshdfy98eqatZk0fxx3rhuk=
cache=${TOLLGATE_CLUSTER_CACHE:-${XDG_CACHE_HOME:-/var/cache}/tollgate}
bin=$cache/crio-${version#v}-$(sha256sum "$here/build.sh" | head -c 8)

# As its own Makefile has it, without what asks for libraries.
tags=containers_image_openpgp,containers_image_ostree_stub,exclude_graphdriver_btrfs,exclude_graphdriver_devicemapper

compile() { # WORK
  local json source
  # Its go.sum holds all that it asks for to what it was.
  json=$(cd / && go mod download -json "$module@$version")
  [[ $json == *"\"$sum\""* ]] || { echo "test:cluster: $module $version is another than it was: $json" >&2 && exit 1; }
  source=$(sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' <<<"$json")
  (cd "$source" && GOFLAGS='-mod=readonly -buildvcs=false -trimpath' GOTOOLCHAIN=local nice -n 19 \
    go build -tags "$tags" -ldflags '-s -w' -o "$1/" ./cmd/crio)
  "${CC:-cc}" -std=c99 -Os -static -o "$1/pinns" "$source"/pinns/src/*.c
}

[[ -d $bin ]] || {
  mkdir -p "$cache"
  exec 9>"$cache/lock-crio"
  flock 9
  rm -rf "$cache"/building-crio-*
  [[ -d $bin ]] || {
    echo "Building CRI-O $version: once, four minutes of processor time" >&2
    work=$(mktemp -d "$cache/building-crio-XXXXXX")
    compile "$work" >&2
    chmod 755 "$work"
    mv "$work" "$bin"
  }
}
echo "$bin"
