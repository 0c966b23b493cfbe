#!/usr/bin/env bash
# Measures a release server beside the machine it runs on; prints figures and ratios, writes JSON and pictures to build/perf.
#
#   scripts/perf.sh [--quick] [--rounds N] [--data DIR] [--benchmarks]
#   scripts/perf.sh partitions [--quick] [--rounds N] [--data DIR] [--partitions N]   what 10,000 partitions cost
#   scripts/perf.sh limits [--quick] [--rounds N] [--data DIR]                        what retention and compaction cost
#
#   --quick        shorter rounds, and no wait of a minute for the memory of an idle server
#   --data DIR     where the server and the probe write (default: build/perf/data, removed at the end)
#   --benchmarks   also runs the Google Benchmark programs, some of them beside LevelDB and RocksDB
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

program=report
case "${1:-}" in
  partitions | limits) program=$1; shift ;;
esac
needs=build
[[ " $* " != *" --benchmarks "* ]] || needs=perf
"$root/scripts/setup.sh" "$needs"
build release >&2
exec python3 -B "$root/perf/$program.py" --bin "$root/build/release/bin" --out "$root/build/perf" "$@"
