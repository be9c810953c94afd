#!/usr/bin/env bash
# npm run test:unit: the tests that need no root, no build and no program besides npm's packages. Under a minute.
# Arguments, if any, are the test files to run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

node .build/deps.mjs 2>/dev/null || npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
case $(uname -m) in aarch64) arch=arm64 ;; *) arch=x64 ;; esac
files=("$@")
((${#files[@]})) || files=(test/unit/*.test.ts test/unit/*/*.test.ts)
# Node leaves one processor out unless told: of two, half; and some tests wait. What a file imports is stripped of its types and
# compiled once, not by each process.
# The node's files lie in memory, as /run does.
[[ -n ${TMPDIR:-} || ! -w /dev/shm ]] || export TMPDIR=/dev/shm
export NODE_COMPILE_CACHE=$PWD/node_modules/.cache/compiled
exec "node_modules/node-linux-$arch/bin/node" --disable-warning=ExperimentalWarning --test --test-reporter=dot \
  --test-concurrency=$(($(nproc) + 1)) "${files[@]}"
