#!/usr/bin/env bash
# Checks that every C++ file is as clang-format 19 writes it; with --fix rewrites those that are not.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mode=(--dry-run -Werror -ferror-limit=1)
[ "${1:-}" != --fix ] || mode=(-i)
git ls-files -z --cached --others --exclude-standard -- '*.h' '*.cpp' |
  while IFS= read -r -d '' file; do
    # A file removed from the work tree is still in the index.
    if [ -e "$file" ]; then printf '%s\0' "$file"; fi
  done | xargs -0 --no-run-if-empty -n 32 -P 2 clang-format-19 "${mode[@]}"
