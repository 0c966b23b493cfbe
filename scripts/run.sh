#!/usr/bin/env bash
# From a clone to a running broker: installs what is missing, builds the release preset, runs the server.
#
#   scripts/run.sh [flags of sentinel-server]        for example --port 9092 --data ./data
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$root/scripts/setup.sh" build
build release sentinel-server sentinel-cli >&2
exec "$root/build/release/bin/sentinel-server" "$@"
