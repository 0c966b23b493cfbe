#!/usr/bin/env bash
# Fuzzes decoders (test/fuzz/fuzz_*.cpp), each from its kept corpus in test/fuzz/corpus.
#
#   scripts/fuzz.sh [--seconds N] [--keep] [NAME...]   builds the fuzz preset, runs the named targets or all
#   scripts/fuzz.sh --binary PATH [--seconds N]        runs one program as it is; what the tests do
#
# --seconds  for each target, 600 unless given
# --keep     adds what reached new code to the kept corpus, minimised
# An input that crashes is left in build/fuzz-findings; the last lines say how to replay it.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

seconds=600 keep=no binaries=() names=()
while [ $# -gt 0 ]; do
  case "$1" in
    --seconds) seconds=$2; shift ;;
    --binary) binaries+=("$2"); shift ;;
    --keep) keep=yes ;;
    -*) sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    *) names+=("$1") ;;
  esac
  shift
done

if [ "${#binaries[@]}" -eq 0 ]; then
  "$root/scripts/setup.sh" test
  build fuzz
  if [ "${#names[@]}" -gt 0 ]; then
    binaries=("${names[@]/#/$root/build/fuzz/bin/fuzz_}")
  else
    binaries=("$root"/build/fuzz/bin/fuzz_*)
  fi
fi

# Freed memory that the sanitizer holds back would count against the limit of resident memory.
export ASAN_OPTIONS="quarantine_size_mb=64${ASAN_OPTIONS:+:$ASAN_OPTIONS}"

# The tree stays as it is: libFuzzer writes what it finds into a copy.
scratch=$(mktemp -d "${TMPDIR:-/tmp}/sentinel-fuzz.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
findings="$root/build/fuzz-findings"
mkdir -p "$findings"

for binary in "${binaries[@]}"; do
  name=$(basename "$binary")
  name=${name#fuzz_}
  kept="$root/test/fuzz/corpus/$name"
  grown="$scratch/$name"
  mkdir -p "$grown"
  [ ! -d "$kept" ] || cp -r "$kept/." "$grown"
  flags=(-max_total_time="$seconds" -timeout=5 -rss_limit_mb=512 -malloc_limit_mb=256 -print_final_stats=1)
  [ ! -f "$root/test/fuzz/$name.dict" ] || flags+=(-dict="$root/test/fuzz/$name.dict")
  echo "fuzz $name for $seconds s, $(find "$grown" -type f | wc -l) kept inputs"
  if ! "$binary" "${flags[@]}" -artifact_prefix="$findings/$name-" "$grown" >"$scratch/log" 2>&1; then
    tail -n 60 "$scratch/log"
    echo "fuzz $name failed; replay with: $binary $findings/$name-..."
    exit 1
  fi
  grep -E '^(#.*DONE|stat::(number_of_executed|new_units|peak))' "$scratch/log" || tail -n 3 "$scratch/log"
  if [ "$keep" = yes ]; then
    mkdir -p "$kept" "$scratch/minimal"
    "$binary" -merge=1 "$scratch/minimal" "$grown" >"$scratch/log" 2>&1
    rm -rf "$kept"
    mv "$scratch/minimal" "$kept"
    echo "fuzz $name keeps $(find "$kept" -type f | wc -l) inputs in test/fuzz/corpus/$name"
  fi
done
