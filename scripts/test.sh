#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test in one ctest run.
#
#   scripts/test.sh [--quick] [arguments of ctest]   for example --quick -R lsm
#
# What runs where (test/CMakeLists.txt):
#   asan      unit, model and simulator tests; lint, format, clang-tidy; replay of the fuzz corpus
#   tsan      the runtime's tests; real servers, alone and as a cluster
#   release   scripts that drive the real binaries (test/apps, test/compat)
#   fuzz      15 s of libFuzzer for each decoder
# --quick is the asan part alone, without clang-tidy.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

presets=(asan tsan release fuzz)
selection=()
if [ "${1:-}" = --quick ]; then
  shift
  presets=(asan)
  selection=(--label-exclude slow)
fi

"$root/scripts/setup.sh" test
for preset in "${presets[@]}"; do
  # Release in full: what no test runs, the benchmarks for one, has to build all the same.
  targets=(sentinel_tests)
  [ "$preset" != release ] || targets=()
  build "$preset" "${targets[@]}"
done

# A directory of its own whose test file takes in those of the builds: one run, one closing line.
mkdir -p "$root/build/tests"
printf 'subdirs("../%s")\n' "${presets[@]}" >"$root/build/tests/CTestTestfile.cmake"
exec ctest --test-dir "$root/build/tests" --output-on-failure --no-tests=error --parallel "$(nproc)" \
  "${selection[@]}" "$@"
