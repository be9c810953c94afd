#!/usr/bin/env bash
# npm test: sets everything up, checks types and style, runs the tests, and proves that they left nothing behind.
# Arguments, if any, are the test files to run. With CI=true a skipped test is a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# Types and style are checked while the release is packed, which has its processors wait.
bash test/setup.sh demo
npm run --silent check &
check=$!
failed=0
bash test/setup.sh test || failed=1
wait "$check" || failed=1
((!failed)) || exit 1

case $(uname -m) in aarch64) arch=arm64 ;; *) arch=x64 ;; esac
node=$PWD/node_modules/node-linux-$arch/bin/node
export TOLLGATE=$PWD/dist/tollgate CNITOOL=$PWD/dist/tools/cnitool
notes=$(mktemp -d)
scratch=$(mktemp -d -t tollgate-test-XXXXXX)
# Programs that tests start as another user are let through to the folders that are theirs.
chmod 711 "$scratch"

# What there is on this machine that a test might touch, without what changes by itself (counters, lifetimes).
machine() {
  echo '# network namespaces' && ip netns list | sed 's/ (id: .*//' | sort
  echo '# links' && ip -o link show | sed 's/^[0-9]*: //'
  echo '# addresses' && ip -o address show | sed -E 's/(valid|preferred)_lft [^ ]+//g'
  echo '# routes and rules' && ip route show table all && ip -6 route show table all | sed -E 's/ expires [0-9]+sec//'
  ip rule && ip -6 rule
  echo '# nftables' && nft -s list ruleset
  echo '# sysctls' && (cd /proc/sys/net && grep -s . ipv{4,6}/conf/{all,default}/{forwarding,rp_filter,route_localnet,accept_ra} || true)
  echo '# files' && (find /var/lib/tollgate /run/tollgate /etc/tollgate /opt/cni /etc/cni /var/lib/cni \
    \( -type f -exec sha256sum {} + \) -o -printf '%y %p\n' 2>/dev/null || true) | sort
  echo '# mounts' && awk '{ print $5 }' /proc/self/mountinfo | grep -v '^/run/netns' | sort || true
}

# Namespaces of tests are called tg-<pid>-…: whoever still runs will take its own away; the others belong to nobody.
without_living() {
  local line pid
  while IFS= read -r line; do
    pid=$(sed -n 's/^[-+]\{0,1\}tg-\([0-9]*\)-.*/\1/p' <<<"$line")
    [[ $line == -tg-* || (-n $pid && -d /proc/$pid) ]] || printf '%s\n' "$line"
  done
}

finish() {
  trap - EXIT INT TERM
  findmnt -rno TARGET | grep -F "$scratch/" | sort -r | xargs -r umount -l || true
  rm -rf "$notes" "$scratch"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

files=("$@")
((${#files[@]})) || files=(test/unit/*.test.ts test/unit/*/*.test.ts test/kernel/*.test.ts test/system/*.test.ts)
cores=$(nproc)
machine >"$notes/before"

status=0
run=$$-$RANDOM
# Tests wait for processes and for the kernel as long as they compute, hence two files at once for each processor. What a file
# imports is stripped of its types and compiled once, not by each process.
TMPDIR=$scratch TOLLGATE_TEST_RUN=$run NODE_COMPILE_CACHE=$PWD/node_modules/.cache/compiled \
  "$node" --test --test-concurrency=$((2 * cores)) --test-timeout=3600000 \
  --test-reporter=spec --test-reporter-destination=stdout \
  --test-reporter=tap --test-reporter-destination="$notes/tap" "${files[@]}" || status=$?

fault() {
  printf '\nnpm test: %s\n' "$1" >&2
  sed 's/^/    /' >&2
  status=1
}

# The other reporter does not tell what ended a file's process.
killed=$(awk '/^not ok/ { sub(/^not ok [0-9]+ - /, ""); file = $0 } /^  signal: .SIG/ { print file ": " $2 }' "$notes/tap")
if [[ -n $killed ]]; then fault 'a signal ended these, which is a crash or the lack of memory:' <<<"$killed"; fi

skipped=$(sed -nE 's/^ *ok [0-9]+ - (.*# (SKIP|TODO).*)/\1/p' "$notes/tap")
if [[ -n $skipped && ${CI:-} == true ]]; then fault 'skipped, which CI=true forbids:' <<<"$skipped"; fi

# What a test killed at its end may take a moment to end.
for ((look = 0; look < 300; look++)); do
  left=$(grep -lzs "^TOLLGATE_TEST_RUN=$run\$" /proc/[0-9]*/environ | cut -d/ -f3 | xargs -r ps -o pid=,args= -p || true)
  [[ -n $left ]] || break
  sleep 0.1
done
if [[ -n $left ]]; then
  fault 'processes that the tests started are still there (now killed):' <<<"$left"
  awk '{ print $1 }' <<<"$left" | xargs -r kill -9
fi

left=$(find "$scratch" -mindepth 1 -maxdepth 2)
if [[ -n $left ]]; then fault 'the tests left temporary files behind:' <<<"$left"; fi

machine >"$notes/after"
changed=$(diff -U0 "$notes/before" "$notes/after" | grep -v -e '^---' -e '^+++' -e '^@@' | without_living || true)
if [[ -n $changed ]]; then
  fault 'the tests changed the machine (+ is new, - is gone):' <<<"$changed"
  sed -n 's/^+\(tg-[0-9]*-.*\)/\1/p' <<<"$changed" | xargs -r -n1 ip netns delete
fi
exit "$status"
