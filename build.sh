#!/usr/bin/env bash
# Makes dist/tollgate, and dist/tollgate-ipam: the same file by another name. Two builds of one commit with the same C
# compiler are equal byte for byte, whoever runs them and in whichever folder.
# Needs Linux on x64 or arm64, Node >= 20, npm and its registry, and a C compiler; nothing else is downloaded.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

fail() {
  echo "build.sh: $*" >&2
  exit 1
}

command -v node >/dev/null && command -v npm >/dev/null || fail "needs Node (20 or later) and npm: neither may be missing"
node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 20 ? 0 : 1)' ||
  fail "needs Node 20 or later, found $(node --version)"
command -v "${CC:-cc}" >/dev/null && "${CC:-cc}" -include sys/un.h -fsyntax-only -x c /dev/null 2>/dev/null ||
  fail "needs a C compiler with the C library's headers, for the launcher; on Debian: apt-get install gcc libc6-dev"
case $(uname -sm) in
  'Linux x86_64') arch=x64 ;;
  'Linux aarch64') arch=arm64 ;;
  *) fail "builds for Linux on x64 and arm64, this is $(uname -sm)" ;;
esac

# No package's install scripts are needed: native parts come ready-made.
if ! reason=$(node .build/deps.mjs 2>&1); then
  echo "Installing dependencies ($reason)"
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
  node .build/deps.mjs || fail "npm ci did not install what package-lock.json lists"
fi

mkdir -p dist
work=$(mktemp -d dist/.build-XXXXXX)
trap 'rm -rf "$work"' EXIT
# 5 KB without any library: the compiler's runtime protections would need one.
"${CC:-cc}" -std=gnu11 -Os -Wall -Wextra -ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables -fno-pie -no-pie \
  -nostdlib -static -s -Wl,--build-id=none,-z,noexecstack,-z,noseparate-code,-z,norelro cmd/launcher.c -o "$work/launcher" ||
  fail "cannot compile cmd/launcher.c"
node .build/node.mjs "node_modules/node-linux-$arch/bin/node" "$work/node"
# NODE_OPTIONS of the caller must not change the build. pkg's output is shown only when it fails.
if ! env -u NODE_OPTIONS "$work/node" --disable-warning=ExperimentalWarning .build/pack.ts "$work/tollgate" "$work/launcher" >"$work/log" 2>&1; then
  cat "$work/log" >&2
  fail "cannot build dist/tollgate"
fi
# A rename leaves processes that run the old file alone.
ln "$work/tollgate" "$work/tollgate-ipam"
mkdir -p dist/tools
mv -f "$work/launcher" dist/tools/
mv -f "$work/tollgate" "$work/tollgate-ipam" dist/
echo "$PWD/dist/tollgate: $(du -m --apparent-size dist/tollgate | cut -f1) MB"
