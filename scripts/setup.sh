#!/usr/bin/env bash
# Installs the Debian packages this project needs and the machine lacks.
#
#   scripts/setup.sh [build] [test] [perf]     without a group: all three
#
# build: what compiles and runs the server; test: what scripts/test.sh adds; perf: what scripts/perf.sh adds.
# Silent when nothing is missing. Every package is in main of Debian 12 (bookworm) and later.
set -euo pipefail

build_packages=(ca-certificates clang-19 lld-19 cmake ninja-build ccache pkg-config liburing-dev libboost-dev
  libboost-program-options-dev libfmt-dev doctest-dev zlib1g-dev liblz4-dev libzstd-dev libsnappy-dev libxxhash-dev)
test_packages=(clang-tidy-19 clang-format-19 libclang-rt-19-dev llvm-19 libbenchmark-dev git python3 kcat
  python3-confluent-kafka python3-kafka python3-snappy python3-lz4 python3-zstandard)
perf_packages=(libbenchmark-dev libleveldb-dev librocksdb-dev python3)

stop() {
  printf 'setup: %s\n' "$@" >&2
  exit 1
}

wanted=()
for group in "${@:-all}"; do
  case "$group" in
    build) wanted+=("${build_packages[@]}") ;;
    test) wanted+=("${build_packages[@]}" "${test_packages[@]}") ;;
    perf) wanted+=("${build_packages[@]}" "${perf_packages[@]}") ;;
    all) wanted+=("${build_packages[@]}" "${test_packages[@]}" "${perf_packages[@]}") ;;
    *) stop "unknown group '$group'; the groups are build, test and perf" ;;
  esac
done
mapfile -t wanted < <(printf '%s\n' "${wanted[@]}" | sort -u)

command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
  stop "this is not a Debian system; install what these packages hold by hand: ${wanted[*]}"

# dpkg-query fails when one name is unknown and still prints the others.
installed=$(dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' "${wanted[@]}" 2>/dev/null |
  sed -n 's/^.i  *//p' || true)
mapfile -t missing < <(comm -23 <(printf '%s\n' "${wanted[@]}") <(sort -u <<<"$installed"))
[ "${#missing[@]}" -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null ||
    stop "missing packages, and neither root nor sudo to install them; run as root:" \
      "  apt-get update && apt-get install --no-install-recommends ${missing[*]}"
  as_root=(sudo)
fi

echo "setup: installing ${missing[*]}"
log=$(mktemp "${TMPDIR:-/tmp}/sentinel-setup.XXXXXX")
apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" \
    >>"$log" 2>&1 </dev/null
}

# A mirror that is not needed may be down: only the installation decides.
apt update || echo "setup: apt-get update failed in part; going on with the lists there are" >&2

unknown=()
for package in "${missing[@]}"; do
  candidate=$(LC_ALL=C apt-cache policy "$package" | sed -n 's/^  Candidate: //p')
  [ -n "$candidate" ] && [ "$candidate" != "(none)" ] || unknown+=("$package")
done
if [ "${#unknown[@]}" -gt 0 ]; then
  tail -n 5 "$log" >&2
  stop "apt knows no package ${unknown[*]}" \
    "Debian 12 (bookworm) and later have it in main: check the network, /etc/apt/sources.list and the release"
fi

if ! apt install --no-install-recommends "${missing[@]}"; then
  tail -n 20 "$log" >&2
  stop "apt-get install failed, the last lines are above and all in $log" \
    "mend what they name (the network, a full disk, or with apt-get -f install a broken package), then run this again"
fi
rm -f "$log"
