#!/usr/bin/env bash
# Two minutes of scripts/soak.sh. Runs alone (test/CMakeLists.txt), because it looks at latency, if only at its drift.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bin=${SENTINEL_BIN:-build/release/bin}
exec "${SENTINEL_PYTHON:-python3}" -B perf/soak.py --bin "$bin" --data "$bin/../soak" --seconds 120
