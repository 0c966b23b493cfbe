#!/usr/bin/env bash
# Measures a release build beside the machine it runs on, or its storage engine beside others; prints figures and
# ratios, writes JSON and pictures to build/perf.
#
#   scripts/perf.sh [--quick] [--rounds N] [--data DIR] [--benchmarks]       a server under load
#   scripts/perf.sh storage [--quick] [--rounds N] [--data DIR]              the storage engine beside LevelDB and RocksDB
#   scripts/perf.sh cold-read [--gib N] [--partitions N] [--rounds N] [--data DIR]
#                                                                            a consumer of cold data beside the device
#   scripts/perf.sh partitions [--quick] [--rounds N] [--data DIR] [--partitions N]
#                                                                            what 10,000 partitions cost
#   scripts/perf.sh opening [--quick] [--gib N] [--rounds N] [--data DIR]
#                                                                            how long a start takes with much data
#   scripts/perf.sh limits [--quick] [--rounds N] [--data DIR]               what retention and compaction by key cost
#   scripts/perf.sh cluster [--quick] [--rounds N] [--data DIR] [--only load|idle]
#                                                                            three nodes beside three of etcd, and idle ones
#
#   --quick        shorter and fewer rounds
#   --data DIR     where to write (default: build/perf/..., removed at the end)
#   --benchmarks   also runs the Google Benchmark programs, some of them beside LevelDB and RocksDB
#
# storage takes about eight minutes, with --quick one. cold-read writes 32 GiB (--gib) over 100 partitions (--partitions)
# through the broker, drops the caches (as root all of them; otherwise those of the store's files) and reads everything
# with one consumer. It needs 36 GiB of disk, and refuses when there is less. cluster takes about six
# minutes; it gets etcd from Debian and builds a client for it with Go.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

program=report needs=build more=()
case "${1:-}" in
  storage) program=storage_report needs=perf; shift ;;
  cold-read | partitions | opening | limits) program=${1//-/_}; shift ;;
  cluster)
    program=cluster_report
    more=(--etcd "$root/build/perf/etcd" --etcd-load "$root/build/perf/etcd_load")
    shift
    ;;
  *) [[ " $* " != *" --benchmarks "* ]] || needs=perf ;;
esac
"$root/scripts/setup.sh" "$needs"
build release >&2
[ "$program" != cluster_report ] || "$root/perf/etcd.sh" "$root/build/perf" >&2
exec python3 -B "$root/perf/$program.py" --bin "$root/build/release/bin" --out "$root/build/perf" "${more[@]}" "$@"
