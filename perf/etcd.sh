#!/usr/bin/env bash
# Gets what scripts/perf.sh cluster needs beside a build: etcd's server, a load generator for it, ss.
#
#   perf/etcd.sh DIR     leaves DIR/etcd and DIR/etcd_load
#
# Packages that the machine lacks are installed, but for that of etcd, which would start a service: it is only unpacked.
set -euo pipefail

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/etcd_load
mkdir -p "$1"
out=$(cd "$1" && pwd)

stop() {
  printf 'etcd.sh: %s\n' "$@" >&2
  exit 1
}

log=$(mktemp "${TMPDIR:-/tmp}/sentinel-etcd.XXXXXX")
try() {
  echo "etcd.sh: $*"
  "$@" >>"$log" 2>&1 </dev/null && return
  tail -n 20 "$log" >&2
  stop "'$*' failed; the last lines are above and all in $log"
}
apt_get() {
  local as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"
}

missing=()
command -v go >/dev/null || missing+=(golang-go)
command -v ss >/dev/null || missing+=(iproute2)
if [ "${#missing[@]}" -gt 0 ]; then
  try apt_get update
  try apt_get install --no-install-recommends "${missing[@]}"
fi

if [ ! -x "$out/etcd" ]; then
  if command -v etcd >/dev/null; then
    ln -sf "$(command -v etcd)" "$out/etcd"
  else
    unpacked=$(mktemp -d "$out/etcd-package.XXXXXX")
    trap 'rm -rf "$unpacked"' EXIT
    try apt_get update
    try env --chdir="$unpacked" apt-get -q download etcd-server
    try dpkg-deb -x "$unpacked"/etcd-server_*.deb "$unpacked"
    mv "$unpacked/usr/bin/etcd" "$out/etcd"
  fi
fi

# Fetches the modules that go.sum names, the first time.
try env --chdir="$source_dir" go build -o "$out/etcd_load" .
rm -f "$log"
