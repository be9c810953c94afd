#!/usr/bin/env bash
# Everything that a fresh Debian with Node >= 20, npm and root still lacks. Quick where nothing is missing.
#   setup.sh demo     npm dependencies and the executable; Debian's compiler for the latter
#   setup.sh bench    these, and the programs that the benchmark compares with: Debian packages, and plugins where Go is there
#   setup.sh engines  the first, and what other policy engines call
#   setup.sh test     these, the release, the one before it, and the programs that tests use as peers: Debian packages, and cnitool where Go is there
#   setup.sh cluster-1.34, cluster-1.20  the first, the release, helm, and what nodes of that Kubernetes are made of: Debian packages
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

cnitool_version=v1.3.1
compiler=(gcc libc6-dev) # for cmd/launcher.c
peers=(
  libatomic1 # wanted by the Node that runs the tests, not by the executable
  busybox-static chromium conntrack containerd containernetworking-plugins fish hyperfine iperf3 iproute2 iptables iputils-ping
  man-db nftables openssh-client podman procps rpm runc socat strace systemd xz-utils zsh
)
oldest_cluster=(etcd-server gcc golang-1.19-go libc6-dev)
# Programs that pods of Kubernetes' own tests call, which become part of their image; and conmon, which CRI-O calls.
cluster=(bind9-dnsutils conmon curl gcc iproute2 iputils-ping libc6-dev netcat-openbsd procps)

fail() {
  echo "setup: $*" >&2
  exit 1
}

# What build.sh looks for itself; another compiler than Debian's will do.
install_compiler() {
  "${CC:-cc}" -include sys/un.h -fsyntax-only -x c /dev/null 2>/dev/null || install_packages "${compiler[@]}"
}

build_if_older() {
  # Folders are looked at too: a file that was taken away shows in its folder's time.
  local newer
  [[ -x dist/tollgate && -x dist/tollgate-ipam && -x dist/tools/launcher ]] && node .build/deps.mjs 2>/dev/null &&
    newer=$(find cmd lib conf .build build.sh package.json package-lock.json -path '.build/release*' -prune -o -newer dist/tollgate -print -quit) &&
    [[ -z $newer ]] && return
  install_compiler
  ./build.sh
}

# The release of the executable that is there.
pack_if_older() {
  # Its files say of which commit they are.
  local newer made=dist/release/SHA256SUMS commit
  commit=$(git rev-parse --git-path logs/HEAD)
  [[ -f $made ]] && newer=$(find dist/tollgate conf {LICENSE,README.md,CHANGELOG.md} .build/release* "$commit" -newer $made -print -quit) && [[ -z $newer ]] && return
  .build/release.sh --no-build
}

# Names as in Debian.
install_packages() {
  local missing=() package
  for package in "$@"; do
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || fail "needs these programs (names as in Debian): ${missing[*]}"
  echo "Installing from Debian: ${missing[*]}"
  local log guard=
  log=$(mktemp)
  # Packages start their services unless this script says no. It is Debian's way, and it is not ours to keep.
  if [[ ! -e /usr/sbin/policy-rc.d ]]; then
    guard=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' >"$guard" && chmod 755 "$guard"
  fi
  # shellcheck disable=SC2064
  trap "rm -f '$log' $guard" EXIT
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}")
  # Package lists may be absent or old; they are fetched only where that shows.
  "${install[@]}" >"$log" 2>&1 || { apt-get update >>"$log" 2>&1 && "${install[@]}" >>"$log" 2>&1; } ||
    { tail -n 20 "$log" >&2 && fail "apt-get could not install ${missing[*]}"; }
  rm -f "$log" $guard
  trap - EXIT
}

install_cnitool() {
  local tool=dist/tools/cnitool
  if ! command -v go >/dev/null; then
    [[ ${CI:-} != true ]] || fail "no Go here, and with CI=true the tests with cnitool are required"
    echo "No Go here: the tests with cnitool are skipped"
    return
  fi
  [[ -x $tool && $(go version -m "$tool") == *"containernetworking/cni"*"$cnitool_version"* ]] && return
  echo "Installing cnitool $cnitool_version"
  GOBIN=$PWD/dist/tools GOFLAGS='' go install "github.com/containernetworking/cni/cnitool@$cnitool_version" ||
    fail "cannot install cnitool $cnitool_version"
}

# CRI-O's library of CNI, as a program: of sources that are there, with their sums.
install_ocicni() {
  command -v go >/dev/null || { echo "No Go here: the tests with CRI-O's library are skipped"; return; }
  [[ dist/tools/ocicni -nt test/support/ocicni/main.go ]] && return
  echo "Installing CRI-O's library of CNI"
  (cd test/support/ocicni && CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -o ../../../dist/tools/ocicni .) ||
    fail "cannot build test/support/ocicni"
}

# What charts and kustomizations are held against: compiled once a machine, outside of the tree.
install_helm() {
  local cache=${TOLLGATE_RELEASE_CACHE:-${XDG_CACHE_HOME:-/var/cache}/tollgate/release} sources=test/support/go sum folder
  sum=$(cat "$sources"/go.* | sha256sum)
  folder=$cache/helm-${sum:0:8}
  if [[ ! -x $folder/helm ]]; then
    if ! command -v go >/dev/null; then
      [[ ${CI:-} != true ]] || fail "no Go here, and with CI=true the tests of the chart are required"
      echo "No Go here: the tests of the chart are skipped"
      return
    fi
    echo "Compiling helm and kustomize: once, four minutes of processor time"
    mkdir -p "$cache"
    (cd "$sources" && CGO_ENABLED=0 GOFLAGS='-mod=readonly -buildvcs=false -trimpath' \
      go build -ldflags '-s -w' -o "$folder.$$/" helm.sh/helm/v4/cmd/helm sigs.k8s.io/kustomize/kustomize/v5) || fail "cannot compile helm"
    mv -T "$folder.$$" "$folder"
  fi
  ln -sfn "$folder"/* dist/tools/
}

# The newest plugins of the CNI project, which the benchmark compares with as well.
install_reference() {
  local folder=$PWD/dist/tools/reference plugins=github.com/containernetworking/plugins/plugins
  command -v go >/dev/null || { echo "No Go here: no comparison with the newest reference plugins"; return; }
  [[ -x $folder/ptp ]] && return
  echo "Installing the newest reference plugins"
  GOBIN=$folder GOFLAGS='' go install "$plugins"/main/{ptp,bridge}@latest "$plugins/ipam/host-local@latest" ||
    echo "Cannot install them: no comparison with the newest reference plugins"
}

install_released() {
  bash test/released.sh
}

# Runs functions at once, which asks that none needs what another makes. Fails where one has failed, when all have ended.
side_by_side() {
  local pids=() pid each failed=0
  for each in "$@"; do
    "$each" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
  return "$failed"
}

mode=${1:-}
[[ $mode =~ ^(demo|bench|engines|test|cluster-1\.34|cluster-1\.20)$ ]] || fail "usage: setup.sh demo|bench|engines|test|cluster-1.34|cluster-1.20"
((EUID == 0)) || fail "needs root: pods are plugged in for real, though in network namespaces of its own"
build_if_older
[[ $mode == demo ]] && exit
install_packages "${peers[@]}"
case $mode in
  engines) install_packages ipset ;; # kube-router's
  cluster-1.20) install_packages "${oldest_cluster[@]}" ;;
  cluster-*)
    install_packages "${cluster[@]}"
    command -v go >/dev/null || fail 'building Kubernetes needs Go, at least 1.25 (go.dev/dl); --kubernetes=1.20 takes Debian'"'"'s'
    ;;
esac
[[ $mode != bench ]] || install_reference
[[ $mode =~ ^(bench|engines)$ ]] && exit
case $mode in
  cluster-*) side_by_side pack_if_older install_helm ;;
  *) side_by_side pack_if_older install_helm install_released install_cnitool install_ocicni ;;
esac
