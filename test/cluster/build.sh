#!/usr/bin/env bash
# Builds what a cluster is made of, once a machine.
#   build.sh [WHAT…]   1.34 (the default), 1.20 or crio; prints the folder that has the programs of each
# It lies outside of the tree, in a folder named by all that goes into it. It is made aside and renamed when it is whole;
# a second caller waits for the first. The compiler's cache stays until the folder is whole: a build that was killed goes on
# where it ended.
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
cache=${TOLLGATE_CLUSTER_CACHE:-${XDG_CACHE_HOME:-/var/cache}/tollgate}

fail() {
  echo "test:cluster: $*" >&2
  exit 1
}

# One line, again and again, on a terminal; a pipe and a log get none.
show_progress() { # LOG
  local last='' now
  [[ -t 2 ]] || return 0
  while sleep 1; do
    now=$(progress "$1")
    [[ $now == "$last" ]] && continue
    last=$now
    printf '\r\033[K%s' "$title: $now" >&2
  done
}

make_it() { # WHAT FOLDER
  local free status=0 started=$SECONDS
  free=$(df --output=avail -m "$cache" | tail -n 1)
  ((free >= room)) || fail "building $title takes $room MiB in $cache, and $free are free"
  show_progress "$work/log" &
  jobs=($!)
  # In a shell of its own: within `||`, this one would go on after an error. In a group of its own: it ends with this one.
  set -m
  nice -n 19 bash -euo pipefail -c 'set -x; . "$0"; compile "$1" "$2"' "$recipe" "$work" "$cache/compiled-$1" >"$work/log" 2>&1 &
  jobs+=("-$!")
  set +m
  wait "${jobs[1]#-}" || status=$?
  [[ ! -t 2 ]] || printf '\r\033[K' >&2
  ((status == 0)) || { tail -n 20 "$work/log" >&2 && fail "cannot build $title"; }
  mv "$work/bin" "$2"
  rm -rf "$cache/compiled-$1"
  echo "$title is built, in $((SECONDS - started)) s" >&2
}

jobs=()
finish() {
  local job
  for job in "${jobs[@]}"; do kill -- "$job" 2>/dev/null || true; done
  jobs=()
  rm -rf "${work:-}"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

for what in "${@:-1.34}"; do
  recipe=$here/build-$what.sh title="Kubernetes $what"
  [[ -f $recipe ]] || fail "Cannot build $title: there is 1.34, 1.20 and crio"
  # The recipe says what is built, how much room it takes while it is built (MiB), and how long that is.
  # shellcheck source=test/cluster/build-1.34.sh
  . "$recipe"
  bin=$cache/$(name_of_build)
  [[ -d $bin ]] || {
    mkdir -p "$cache"
    exec 9>"$cache/lock-$what"
    flock 9
    # Left by builds that were killed: the one that builds holds the lock.
    rm -rf "$cache/building-$what"-*
    [[ -d $bin ]] || {
      echo "Building $title: once, $duration" >&2
      work=$(mktemp -d "$cache/building-$what-XXXXXX")
      make_it "$what" "$bin"
      finish
    }
    exec 9>&-
  }
  echo "$bin"
done
