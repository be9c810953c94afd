#!/usr/bin/env bash
# The last release, from which the test of upgrades begins: its sources are one file of the tree, since a clone may have no history.
#   released.sh             builds its executable, once a machine and outside of the tree, and links its folder to dist/tools/released
#   released.sh renew REV   makes the file anew, of a commit: to be done when that commit is released
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
sources=test/system/released/sources.tar.xz
cache=${XDG_CACHE_HOME:-/var/cache}/tollgate

fail() {
  echo "released: $*" >&2
  exit 1
}

# What build.sh reads.
renew() {
  local made
  made=$(mktemp)
  git archive "$1" build.sh .build cmd conf lib LICENSE package.json package-lock.json tsconfig.json | xz -9e >"$made" || fail "git archive knows no $1"
  mv "$made" "$sources" && chmod 644 "$sources"
  echo "$sources: $(git log -1 --format='%h %s' "$1"), $(du -k --apparent-size "$sources" | cut -f1) KB"
}

build() { # FOLDER
  work=$(mktemp -d "$1-XXXXXX")
  trap 'rm -rf "$work"' EXIT
  tar -xJf "$sources" -C "$work"
  # Others than ours build.sh installs in the copy.
  ! cmp -s package-lock.json "$work/package-lock.json" || ln -s "$PWD/node_modules" "$work/node_modules"
  "$work/build.sh" >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2 && fail "cannot build $sources"; }
  mkdir "$work/made"
  mv "$work/dist/tollgate" "$work/made/"
  # Another caller may have made it meanwhile.
  mv -T "$work/made" "$1" 2>/dev/null || [[ -x $1/tollgate ]] || fail "cannot write $1"
}

case ${1:-} in
  renew) renew "${2:?released: renew needs a commit}" ;;
  '')
    sum=$(sha256sum <"$sources")
    folder=$cache/released-${sum:0:8}
    mkdir -p "$cache" dist/tools
    [[ -x $folder/tollgate ]] || { echo 'Building the last release: once' && build "$folder"; }
    ln -sfn "$folder" dist/tools/released
    ;;
  *) fail 'usage: released.sh [renew REV]' ;;
esac
