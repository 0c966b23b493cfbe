#!/usr/bin/env bash
# Measures a release server beside the machine it runs on; prints figures and ratios, writes JSON and pictures to build/perf.
#
#   scripts/perf.sh [--quick] [--rounds N] [--data DIR] [--benchmarks]
#   scripts/perf.sh cold-read [--gib N] [--partitions N] [--rounds N] [--data DIR]
#   scripts/perf.sh partitions [--quick] [--rounds N] [--data DIR] [--partitions N]
#   scripts/perf.sh limits [--quick] [--rounds N] [--data DIR]
#
#   --quick        shorter rounds, and no wait of a minute for the memory of an idle server
#   --data DIR     where the server and the probe write (default: build/perf/data, removed at the end)
#   --benchmarks   also runs the Google Benchmark programs, some of them beside LevelDB and RocksDB
#
# cold-read writes 32 GiB (--gib) over 100 partitions (--partitions) through the broker, drops the caches (as root all of
# them; otherwise those of the store's files) and reads everything with one consumer, beside the speed of the device.
# It needs 36 GiB of disk, and refuses when there is less.
# partitions says what 10,000 of them cost; limits what retention and compaction by key cost, and how well space keeps to them.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

program=report
case "${1:-}" in
  cold-read | partitions | limits)
    program=${1//-/_}
    shift
    ;;
esac
needs=build
[[ " $* " != *" --benchmarks "* ]] || needs=perf
"$root/scripts/setup.sh" "$needs"
build release >&2
exec python3 -B "$root/perf/$program.py" --bin "$root/build/release/bin" --out "$root/build/perf" "$@"
