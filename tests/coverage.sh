#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run coverage [native]: which lines of dispatch/ and kernels/ the tests run, over all ISAs, for which it takes an x86-64;
# native: over those of this CPU alone. The tests are those that give the lines, and no more.
source "$(dirname "$0")/common.sh"
source tests/targets.sh

dir=build/coverage failed=0 builds=()
# Optimised no further, lines stay apart. Meson's c_args come behind the optimisation that kernels/meson.build asks for.
options=(-Db_coverage=true -Dc_args='-Og -fprofile-update=atomic')
for option in bench openmp pthreadpool mpi; do options+=("-D$option=disabled"); done

# measure NAME GCOV TEST... [-- MESON SETUP OPTION...]: a build of its own, which counts from 0.
measure() {
    local build=$dir/$1 gcov=$2 tests=() began=$SECONDS built
    shift 2
    while (($#)) && [[ $1 != -- ]]; do tests+=("$1") && shift; done
    quietly configure "$build" "${options[@]}" "${@:2}"
    quietly meson compile -C "$build"
    built=$SECONDS
    find "$build" -name '*.gcda' -delete
    quietly meson test -C "$build" --no-rebuild --timeout-multiplier 20 "${tests[@]}" </dev/null || failed=$((failed + 1))
    echo "$build: built in $((built - began)) s, tested in $((SECONDS - built)) s"
    builds+=("$build=$gcov")
}

[[ $(uname -m) == x86_64 ]] || { skip coverage 'this is no x86-64'; exit; }
need "${build_packages[@]}" "${emulation_packages[@]}"
kernels=(kernels digests activations conversions masks fuzz)
native=("${kernels[@]}" errors dispatch fold sparse threads environment)
for cpu in Nehalem SandyBridge Haswell; do native+=("dispatch on $cpu"); done
avx512=auto
cpu_has avx512f avx512cd avx512bw avx512dq avx512vl || { avx512=disabled && echo '# without AVX-512, which this CPU lacks'; }
BNORM_DIGESTS=4 measure native gcov "${native[@]}" -- "-Davx512=$avx512"
if [[ ${1-} != native ]]; then
    need_target aarch64
    arm=("${kernels[@]}" 'dispatch on SVE of 2048 bits')
    for bits in 128 256 512; do
        for name in dispatch kernels digests activations conversions masks fuzz; do arm+=("$name on SVE of $bits bits"); done
    done
    BNORM_DIGESTS=13 measure aarch64 aarch64-linux-gnu-gcov "${arm[@]}" -- --cross-file cross/aarch64.ini -Dsve=enabled -Dsve_bits=128,256,512
    # What stands in for other ISAs, and for SLEEF.
    need_target s390x
    measure s390x s390x-linux-gnu-gcov dispatch errors masks conversions -- --cross-file cross/s390x.ini -Dsleef=disabled
fi
tests/coverage.py "$failed" "${builds[@]}"
