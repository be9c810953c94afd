#!/usr/bin/env bash
# Kubernetes from Debian's source package, built with Debian's Go: once a machine, some six minutes on two cores.
# Prints the folder that has kube-apiserver, kube-controller-manager, kube-scheduler and kubelet.
# It is made aside and renamed when it is whole; who comes meanwhile waits for it.
set -euo pipefail
cache=${TOLLGATE_CLUSTER_CACHE:-${XDG_CACHE_HOME:-/var/cache}/tollgate}
bin=$cache/kubernetes-1.20
programs=(kube-apiserver kube-controller-manager kube-scheduler kubelet)
# Sources, compiler's cache and programs together, in MiB.
room=4096

whole() { [[ -d $bin ]]; }
fail() {
  echo "test:cluster: $*" >&2
  exit 1
}

# The machine's own sources of packages, asked for source packages: lists of our own, so that nothing of the machine changes.
fetch_source() {
  mkdir -p "$work/apt" "$work/lists/partial"
  cp -r /etc/apt/. "$work/apt/"
  find "$work/apt" -name '*.sources' -exec sed -i 's/^Types:.*/Types: deb-src/' {} +
  find "$work/apt" -name '*.list' -exec sed -i 's/^deb /deb-src /' {} +
  local apt=(apt-get -o "Dir::Etc=$work/apt" -o "Dir::State::Lists=$work/lists")
  "${apt[@]}" update
  "${apt[@]}" source --download-only kubernetes
  local archives=(kubernetes_1.20.*.orig.tar.*)
  [[ -f ${archives[0]} ]] || { echo 'the source package is another version than 1.20' && return 1; }
  mkdir -p "$tree"
  tar xf "${archives[0]}" -C "$tree" --strip-components=1
}

# The one file that its Makefile would generate and without which kube-apiserver does not compile.
generate_openapi() {
  go build -o "$work/openapi-gen" k8s.io/kubernetes/vendor/k8s.io/kube-openapi/cmd/openapi-gen
  local packages
  packages=$(grep -rlF --include='*.go' --exclude='*_test.go' '+k8s:openapi-gen=true' pkg cmd staging/src vendor/k8s.io |
    xargs -n1 dirname | sed -E 's#^(staging/src|vendor)/#vendor/#; s#^#k8s.io/kubernetes/#' | sort -u | paste -sd,)
  "$work/openapi-gen" -O zz_generated.openapi --go-header-file hack/boilerplate/boilerplate.generatego.txt \
    --output-base "$GOPATH/src" -i "$packages" -p k8s.io/kubernetes/pkg/generated/openapi -r "$work/report" >/dev/null
}

# In a shell of its own: within `||`, this one would go on after an error.
compile() {
  cd "$work"
  fetch_source
  cd "$tree"
  generate_openapi
  for program in "${programs[@]}"; do
    go build -ldflags '-s -w' -o "$work/bin/" "k8s.io/kubernetes/cmd/$program"
  done
}

build() {
  local free
  free=$(df --output=avail -m "$cache" | tail -n 1)
  ((free >= room)) || fail "building Kubernetes takes $room MiB in $cache, and $free are free"
  bash "${BASH_SOURCE[0]}" in "$work" >"$work/log" 2>&1 ||
    { tail -n 20 "$work/log" >&2 && fail 'cannot build Kubernetes'; }
  mv "$work/bin" "$bin"
}

if [[ ${1:-} == in ]]; then
  set -x
  work=$2 tree=$2/go/src/k8s.io/kubernetes
  export GOPATH=$work/go GOCACHE=$work/gocache GO111MODULE=off GOFLAGS='' PATH=/usr/lib/go-1.19/bin:$PATH
  compile
  exit
fi

whole || {
  mkdir -p "$cache"
  exec 9>"$cache/lock"
  flock 9
  # Left by builds that were killed: whoever builds holds the lock.
  rm -rf "$cache"/building-*
  whole || {
    echo 'Building Kubernetes 1.20 from its Debian source package: once, some six minutes on two cores' >&2
    work=$(mktemp -d "$cache/building-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    build
  }
}
echo "$bin"
