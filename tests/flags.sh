#!/bin/bash
# SPDX-License-Identifier: MIT
# Sources must not compile with flags that change what arithmetic gives, as far as the compiler tells of them:
# flags.sh SOURCE COMPILER [ARGUMENT...]
set -euo pipefail
source=$1
compiler=("${@:2}" -std=c11)
passed=0 failed=0 skipped=0

compiles() { "${compiler[@]}" -fsyntax-only "$@" "$source" 2>/dev/null; }
macros() { "${compiler[@]}" "$@" -dM -E -x c /dev/null 2>/dev/null | grep -E '__(FAST|FINITE|ASSOCIATIVE|RECIPROCAL)_MATH|SIGNED_ZEROS' || true; }

if compiles; then passed=1; else echo "FAILED: does not compile without any"; failed=1; fi
for flags in -ffast-math -ffinite-math-only -fno-signed-zeros -freciprocal-math -funsafe-math-optimizations \
    '-fassociative-math -fno-signed-zeros -fno-trapping-math'; do
    read -r -a each <<<"$flags"
    if [[ $(macros "${each[@]}") == "$(macros)" && $flags != -ffast-math && $flags != -ffinite-math-only ]]; then
        echo "# skipped: the compiler does not tell of $flags"
        skipped=$((skipped + 1))
    elif compiles "${each[@]}"; then
        echo "FAILED: compiles with $flags"
        failed=$((failed + 1))
    else
        passed=$((passed + 1))
    fi
done
echo "flags: $passed passed, $failed failed, $skipped skipped"
((failed == 0))
