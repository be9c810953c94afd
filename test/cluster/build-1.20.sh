# The recipe of Kubernetes 1.20 for build.sh: from Debian's source package, with Debian's Go.
# shellcheck shell=bash disable=SC2034 # read by build.sh
programs=(kube-apiserver kube-controller-manager kube-scheduler kubelet)
room=4096
duration='some six minutes on two cores'

name_of_build() { echo kubernetes-1.20; }
progress() { grep -oE "^\++ (fetch_source|generate_openapi|go build.*)" "$1" | tail -n 1 | sed 's/^+* //'; }

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

compile() { # WORK COMPILED
  local work=$1 tree=$1/go/src/k8s.io/kubernetes program
  export GOPATH=$work/go GOCACHE=$2 GO111MODULE=off GOFLAGS='' PATH=/usr/lib/go-1.19/bin:$PATH
  cd "$work"
  fetch_source
  cd "$tree"
  generate_openapi
  for program in "${programs[@]}"; do
    go build -ldflags '-s -w' -o "$work/bin/" "k8s.io/kubernetes/cmd/$program"
  done
}
