#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run sanitize [NAME...]: tests while something watches memory, arithmetic or threads; without a name under each.
source "$(dirname "$0")/../run"

# OpenMP and pthreadpool are not built so that they could be watched.
plain=(-Dbench=disabled -Dopenmp=disabled -Dpthreadpool=disabled -Dmpi=disabled)
# The sanitizers of clang are linked into programs alone.
clang=("${plain[@]}" -Db_lundef=false)
# What is defined and yet seldom meant; tests/sanitize.ignore lists where it is.
unmeant=integer,bounds,float-divide-by-zero,implicit-conversion,nullability
short='errors dispatch fold environment conversions fuzz'
export BNORM_DIGESTS=${BNORM_DIGESTS-4} UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1

# watch DIR 'TEST...' [MESON SETUP OPTION...]: builds what these tests take and runs them, within $wrap if there is one.
watch() {
    local dir=$1 log tests isas=${ISAS:-$(expected_isas | xargs)}
    read -r -a tests <<<"$2"
    configure "$dir" "${@:3}"
    rm -f "$dir"/meson-logs/testlog*
    BNORM_REQUIRE=${isas// /,} meson test -C "$dir" --timeout-multiplier 10 ${wrap:+--wrap "$wrap"} "${tests[@]}" || true
    for log in "$dir"/meson-logs/testlog-valgrind.*; do # so Meson calls it
        [[ ! -e $log ]] || mv "$log" "${log/testlog-valgrind/testlog}"
    done
    python3 tests/summary.py "$dir"
}

sanitize() {
    case $1 in
    address) suite build/sanitize-address --werror -Dbench=disabled -Db_sanitize=address,undefined ;;
    integer)
        CC=clang watch build/sanitize-integer "$short kernels" "${clang[@]}" -Db_sanitize=undefined \
            "-Dc_args=-fsanitize=$unmeant -fsanitize-ignorelist=$PWD/tests/sanitize.ignore"
        ;;
    # SLEEF is not built so that it could be watched.
    memory) CC=clang watch build/sanitize-memory "$short" "${clang[@]}" -Db_sanitize=memory -Dsleef=disabled ;;
    # Two compilers' detectors, which differ in what they take for one access.
    thread) watch build/sanitize-thread 'dispatch threads threadpool' "${plain[@]}" -Db_sanitize=thread ;;
    thread-clang) CC=clang watch build/sanitize-thread-clang 'dispatch threads threadpool' "${clang[@]}" -Db_sanitize=thread ;;
    # The code that users run, as it is; valgrind knows no AVX-512.
    valgrind)
        ISAS=${ISAS:-$(expected_isas | grep -v avx512 | xargs)} \
            wrap='valgrind -q --error-exitcode=9 --leak-check=full --fair-sched=yes' \
            watch build 'errors fold environment conversions fuzz'
        ;;
    *) echo "no sanitizer named $1" >&2; return 2 ;;
    esac
}

need "${build_packages[@]}" clang valgrind
need "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev"
(($#)) || set -- address integer memory thread thread-clang valgrind
for name; do job sanitize "$name"; done
summary
