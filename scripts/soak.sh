#!/usr/bin/env bash
# Works one server for hours at a fixed rate, with retention and compaction; fails on drift of memory, files or latency.
#
#   scripts/soak.sh [--seconds N] [--rate N] [--data DIR]
#
#   --seconds N    how long, 3600 unless given; the tests do 120
#   --rate N       batches of 8 KiB a second, 500 unless given
#   --data DIR     where the server writes (default: build/perf/data; removed at the end unless something was found)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$root/scripts/setup.sh" build
build release >&2
exec python3 -B "$root/perf/soak.py" --bin "$root/build/release/bin" --data "$root/build/perf/data" "$@"
