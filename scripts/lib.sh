# Sourced by the other scripts: the repository's root, and builds that show progress and errors only.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# build PRESET [TARGET...]: configures build/PRESET and builds the targets, or everything.
build() {
  local preset=$1 started=$SECONDS log quiet=()
  shift
  mkdir -p "$root/build"
  log="$root/build/configure-$preset.log"
  if ! (cd "$root" && cmake --preset "$preset") >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    echo "The $preset preset does not configure; the lines above say why (all of them: $log)." >&2
    return 1
  fi
  # On a terminal ninja keeps its progress on one line; elsewhere every line would stay.
  [ -t 1 ] || quiet=(-- --quiet)
  echo "Building $preset ..."
  if ! cmake --build "$root/build/$preset" ${1:+--target "$@"} "${quiet[@]}"; then
    echo "The $preset build failed; the first error above is the one to look at." >&2
    return 1
  fi
  echo "Built $preset in $((SECONDS - started)) s."
}
