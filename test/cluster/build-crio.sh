# The recipe of CRI-O for build.sh: out of its Go module. What it calls besides is Debian's (conmon, runc).
# shellcheck shell=bash disable=SC2034 # read by build.sh
module=github.com/cri-o/cri-o version=v1.34.0 sum=h1:ux2URwAyENy5e5hD9Z95tshdfy98eqatZk0fxx3rhuk=
title="CRI-O ${version#v}"
room=2048
duration='four minutes of processor time'

# As its own Makefile has it, without what asks for libraries.
tags=containers_image_openpgp,containers_image_ostree_stub,exclude_graphdriver_btrfs,exclude_graphdriver_devicemapper

name_of_build() { echo "crio-${version#v}-$(sha256sum "$recipe" | head -c 8)"; }

# The compiler names each package when it is done with it.
progress() { # LOG
  echo "$(grep -cE '^[a-z][^ ]*/[^ ]+$' "$1") packages are compiled"
}

compile() { # WORK COMPILED
  local json source
  export GOCACHE=$2 GOFLAGS='-mod=readonly -buildvcs=false -trimpath' GOTOOLCHAIN=local GOGC=400
  # Its go.sum holds all that it asks for to what it was.
  json=$(cd / && go mod download -json "$module@$version")
  [[ $json == *"\"$sum\""* ]] || { echo "$module $version is another than it was: $json" && return 1; }
  source=$(sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' <<<"$json")
  mkdir -p "$1/bin"
  (cd "$source" && go build -v -tags "$tags" -gcflags='all=-dwarf=false -l' -gcflags='std=-dwarf=false' -ldflags '-s -w' -o "$1/bin/" ./cmd/crio)
  "${CC:-cc}" -std=c99 -Os -static -o "$1/bin/pinns" "$source"/pinns/src/*.c
  # The network that comes with its packages.
  install -m 644 "$source/contrib/cni/10-crio-bridge.conflist" "$1/bin/"
}
