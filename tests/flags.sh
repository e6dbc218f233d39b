#!/bin/bash
# SPDX-License-Identifier: MIT
# Sources must not compile with flags that change what arithmetic gives, as far as the compiler tells of them:
# flags.sh SOURCE COMPILER [ARGUMENT...]
set -euo pipefail
source=$1
compiler=("${@:2}" -std=c11)
points=0 failed=0

compiles() { "${compiler[@]}" -fsyntax-only "$@" "$source" 2>/dev/null; }
macros() { "${compiler[@]}" "$@" -dM -E -x c /dev/null 2>/dev/null | grep -E '__(FAST|FINITE|ASSOCIATIVE|RECIPROCAL)_MATH|SIGNED_ZEROS' || true; }
ok() { points=$((points + 1)); echo "ok $points - $1"; }
not_ok() { points=$((points + 1)) failed=1; echo "not ok $points - $1"; }

if compiles; then ok 'compiles without any'; else not_ok 'compiles without any'; fi
for flags in -ffast-math -ffinite-math-only -fno-signed-zeros -freciprocal-math -funsafe-math-optimizations \
    '-fassociative-math -fno-signed-zeros -fno-trapping-math'; do
    read -r -a each <<<"$flags"
    if [[ $(macros "${each[@]}") == "$(macros)" && $flags != -ffast-math && $flags != -ffinite-math-only ]]; then
        ok "refuses $flags # SKIP the compiler does not tell of it"
    elif compiles "${each[@]}"; then
        not_ok "refuses $flags"
    else
        ok "refuses $flags"
    fi
done
echo "1..$points"
exit $failed
