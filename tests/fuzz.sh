#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run fuzz [SECONDS]: libFuzzer on each target of tests/fuzz, for so long; what it finds stays in build/fuzz.
source "$(dirname "$0")/common.sh"

dir=build/fuzz seconds=${1:-60} passed=0 failed=0
targets=(arguments parts results)
need "${build_packages[@]}" clang
need "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev"
without=(-Dbench=disabled -Dopenmp=disabled -Dpthreadpool=disabled -Dmpi=disabled)
CC=clang configure "$dir" -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false "${without[@]}"
meson compile -C "$dir" "${targets[@]/#/fuzz-}"
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1

# fuzz TARGET: from the corpus of the repository and what earlier runs left in the build directory.
fuzz() {
    local target=$1 log=$dir/$1.log found
    local options=(-max_total_time="$seconds" -artifact_prefix="$dir/$target-" -max_len=256 -len_control=0 -entropic=0)
    mkdir -p "$dir/corpus/$target"
    if "$dir/tests/fuzz-$target" "${options[@]}" -timeout=20 -print_final_stats=1 "$dir/corpus/$target" \
        "tests/fuzz/corpus/$target" >"$log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        grep -vE '^#[0-9]|NEW_FUNC' "$log" | tail -n 60
        found=$(sed -n 's/.*Test unit written to //p' "$log")
        echo "again: $dir/tests/fuzz-$target $found"
    fi
    echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") executions," \
        "$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log") a second," \
        "$(sed -n 's/^#.* cov: \([0-9]*\).*/\1/p' "$log" | tail -n 1) of" \
        "$(sed -n 's/.*modules *(\([0-9]*\) inline.*/\1/p' "$log") edges"
}

for target in "${targets[@]}"; do fuzz "$target"; done
echo "fuzz: $passed passed, $failed failed, 0 skipped"
((failed == 0))
