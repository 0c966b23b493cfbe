#!/usr/bin/env bash
# A cluster of three servers on this machine: installs what is missing, builds, starts them, and stops them with Ctrl-C.
#
#   scripts/cluster.sh [--data DIR] [--port N] [--peer-port N] [-- flags of sentinel-server]
#
# Clients connect to ports N, N+1 and N+2 (default 9092). What was stored is there again the next time. A server that is
# killed is started again after ten seconds; until then the others go on.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

data=./cluster-data port=9092 peer_port=9192
while [[ $# -gt 0 ]]; do
  case $1 in
    --data) data=$2; shift 2 ;;
    --port) port=$2; shift 2 ;;
    --peer-port) peer_port=$2; shift 2 ;;
    --) shift; break ;;
    -h|--help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "cluster.sh: '$1' is no flag; see --help" >&2; exit 2 ;;
  esac
done

"$root/scripts/setup.sh" build
build release sentinel-server sentinel-cli >&2

peers=
for node in 1 2 3; do peers+="${peers:+,}$node@localhost:$((peer_port + node - 1))"; done
declare -A servers  # Process ids, by node.
stop() {
  trap - INT TERM EXIT
  kill "${servers[@]}" 2>/dev/null || true
  wait
}
trap stop EXIT
trap "stop; exit 0" INT TERM

start() {
  local node=$1
  "$root/build/release/bin/sentinel-server" --node-id "$node" --peers "$peers" --port $((port + node - 1)) \
    --data "$data/$node" --shards 1 "${flags[@]}" 2> >(sed -u "s/^/node $node: /" >&2) &
  servers[$node]=$!
}

mkdir -p "$data"
flags=("$@")
for node in 1 2 3; do start "$node"; done
# Who kills one wants to see the others go on: it is started again a while later. One that ends by itself ends all.
while true; do
  code=0
  wait -n -p ended "${servers[@]}" || code=$?
  for node in "${!servers[@]}"; do [[ ${servers[$node]} != "$ended" ]] || break; done
  [[ $code -gt 128 ]] || exit "$code"
  echo "node $node was killed (signal $((code - 128))); it starts again in 10 s" >&2
  sleep 10 & wait $!  # A signal ends this wait at once.
  start "$node"
done
