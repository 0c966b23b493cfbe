#!/usr/bin/env bash
# A cluster of three servers on this machine: installs what is missing, builds, starts them, and stops them with Ctrl-C.
#
#   scripts/cluster.sh [--data DIR] [--port N] [--peer-port N] [-- flags of sentinel-server]
#
# Clients connect to ports N, N+1 and N+2 (default 9092). What was stored is there again the next time.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

data=./cluster-data port=9092 peer_port=9192
while [[ $# -gt 0 ]]; do
  case $1 in
    --data) data=$2; shift 2 ;;
    --port) port=$2; shift 2 ;;
    --peer-port) peer_port=$2; shift 2 ;;
    --) shift; break ;;
    -h|--help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "cluster.sh: '$1' is no flag; see --help" >&2; exit 2 ;;
  esac
done

"$root/scripts/setup.sh" build
build release sentinel-server sentinel-cli >&2

peers=
for node in 1 2 3; do peers+="${peers:+,}$node@localhost:$((peer_port + node - 1))"; done
servers=()
stop() {
  trap - INT TERM EXIT
  kill "${servers[@]}" 2>/dev/null || true
  wait
}
trap stop INT TERM EXIT

mkdir -p "$data"
for node in 1 2 3; do
  "$root/build/release/bin/sentinel-server" --node-id "$node" --peers "$peers" --port $((port + node - 1)) \
    --data "$data/$node" --shards 1 "$@" 2> >(sed -u "s/^/node $node: /" >&2) &
  servers+=($!)
done
# One that ends by itself ends all.
wait -n "${servers[@]}"
