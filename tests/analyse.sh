#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run analyse: what clang-tidy, cppcheck and gcc's analyser say of the library: nothing. A check is one tool on one file.
source "$(dirname "$0")/common.sh"

dir=build/analyse passed=0 failed=0
need "${build_packages[@]}" clang-tidy cppcheck
for part in tests bench openmp pthreadpool mpi; do off+=("-D$part=disabled"); done
CC=gcc quietly configure "$dir" "${off[@]}"

# Each file as Meson compiles it: source, and flags without those of warnings and of optimisation.
units() {
    python3 - "$dir/compile_commands.json" <<'EOF'
import json, os, shlex, sys
for unit in json.load(open(sys.argv[1])):
    flags = [word for word in shlex.split(unit["command"]) if word[:2] in ("-D", "-m", "-s")]
    print(os.path.relpath(os.path.join(unit["directory"], unit["file"])), *flags)
EOF
}

# silent COMMAND...: one check, which fails if the tool says anything.
silent() {
    local said status=0
    said=$("$@" 2>&1) || status=$?
    if ((status == 0)) && [[ ! $said ]]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf '== %s\n%s\n' "$*" "$said"
    fi
}

# .clang-tidy has its checks. On stderr it counts what it does not report.
tidy() { clang-tidy --quiet "$1" -- "${@:2}" 2>/dev/null; }

# It is told of an ISA by macros alone. invalidPointerCast: bytes of floats are copied, and not read as numbers.
check() {
    local defines
    read -r -a defines <<<"$(printf '%s\n' "${@:2}" | grep ^-D | xargs) $(gcc "${@:2}" -dM -E -x c /dev/null |
        sed -nE 's/^#define (__(AVX|FMA|F16C)[A-Z0-9]*__) 1$/-D\1/p' | xargs)"
    cppcheck --quiet --std=c11 --enable=warning,performance,portability --inconclusive --suppress=invalidPointerCast \
        --error-exitcode=1 "${defines[@]}" "$1"
}

# Of the kernels, portable C for floats, whose loops every ISA has: it takes gcc most of a minute, and did not end in eight
# with all that is to be inlined. An array that a loop fills is uninitialised to gcc; MemorySanitizer knows better.
analyse() {
    local how=(-O2)
    [[ $1 != kernels/* ]] ||
        how=(-O0 -Dalways_inline=unused -DBNORM_NO_BF16 -DBNORM_NO_F16 -Wno-analyzer-use-of-uninitialized-value)
    gcc "${@:2}" "${how[@]}" -fanalyzer -S -o /dev/null "$1"
}

while read -r -a unit; do
    silent tidy "${unit[@]}"
    silent check "${unit[@]}"
    [[ ${unit[0]} == kernels/* && ${unit[0]} != */scalar.c ]] || silent analyse "${unit[@]}"
done < <(units)
echo "analyse: $passed passed, $failed failed, 0 skipped"
((failed == 0 && passed > 0))
