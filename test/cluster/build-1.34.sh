# The recipe of today's Kubernetes for build.sh: all of it out of Go modules, as test/cluster/go lists them with their sums.
# One module for everything, so that what Kubernetes, containerd and CoreDNS share is compiled once; Kubernetes' own
# programs are one executable, which is linked once.
# shellcheck shell=bash disable=SC2034 # read by build.sh
kubernetes=v1.34.4 containerd=v2.2.9
room=4096
duration='ten minutes of processor time'

sources=$(dirname "${BASH_SOURCE[0]}")/go
packages=(
  ./kubernetes ./coredns go.etcd.io/etcd/server/v3 github.com/onsi/ginkgo/v2/ginkgo
  k8s.io/kubernetes/test/images/{agnhost,regression-issue-74839}
  github.com/containerd/containerd/v2/cmd/{containerd,containerd-shim-runc-v2,ctr}
)
# What no test needs, and much of what it would bring.
tags=no_btrfs,no_zfs,no_aufs,no_devmapper,no_tracing,nri_no_wasm,no_dynamic_plugins

name_of_build() {
  local sum
  sum=$(cat "$recipe" "$sources"/go.* "$sources"/*/*.go | sha256sum)
  echo "kubernetes-${kubernetes#v}-${sum:0:8}"
}

# The compiler names each package when it is done with it.
progress() { # LOG
  local all done
  all=$(sed -n 's/^packages: //p' "$1") done=$(grep -cE '^[a-z][^ ]*/[^ ]+$' "$1" || true)
  if [[ -z $all ]]; then echo "fetching sources"; else echo "$done of $all packages are compiled"; fi
}

compile() { # WORK COMPILED
  export CGO_ENABLED=0 GOFLAGS='-mod=readonly -buildvcs=false -trimpath' GOCACHE=$2 GOTOOLCHAIN=local
  # The compiler's own memory is not worth its time. Without debugging notes and inlining it takes a third less; the standard
  # library, which everything runs through, is compiled as ever.
  export GOGC=400
  local build=(-v -tags "$tags" -gcflags='all=-dwarf=false -l' -gcflags='std=-dwarf=false')
  local version=k8s.io/component-base/version
  local ldflags="-s -w -X $version.gitVersion=$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=34
    -X github.com/containerd/containerd/v2/version.Version=$containerd"
  cd "$sources"
  echo "packages: $(go list -deps -test -tags "$tags" "${packages[@]}" ./suite | sort -u | wc -l)"
  mkdir -p "$1/bin"
  go build "${build[@]}" -ldflags "$ldflags" -o "$1/bin/" "${packages[@]}"
  mv "$1/bin/server" "$1/bin/etcd"
  local program
  for program in kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubectl kubelet; do
    ln -s kubernetes "$1/bin/$program"
  done
  go test -c -vet=off "${build[@]}" -ldflags "$ldflags" -o "$1/bin/e2e.test" ./suite
  # What the pods of that suite look for beside their program.
  local porter
  porter=$(go list -f '{{.Dir}}' k8s.io/kubernetes/test/images/agnhost/porter)
  install -m 644 "$porter"/localhost.{crt,key} "$1/bin/"
}
