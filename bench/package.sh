#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run package: one static benchmark for 64-bit ARM Linux and Android.
source "$(dirname "$0")/../tests/common.sh"
source tests/targets.sh

dir=build/package prefix=$PWD/build/package/prefix
[[ ${1-} != --target || ${2-} == aarch64 ]] || { echo "a package is made for aarch64 only" >&2; exit 2; }
need "${build_packages[@]}" cmake g++-aarch64-linux-gnu
need_target aarch64-static
if [[ ! -e $prefix/lib/libbenchmark.a ]]; then # Debian has it as a shared library only
    unpack_source benchmark "$dir/benchmark"
    cmake -G Ninja -S "$dir/benchmark" -B "$dir/benchmark-build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_SYSTEM_NAME=Linux \
        -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib \
        -DBENCHMARK_ENABLE_TESTING=OFF -DHAVE_STD_REGEX=ON -DRUN_HAVE_STD_REGEX=0 -DRUN_HAVE_STEADY_CLOCK=0
    cmake --build "$dir/benchmark-build" --target install
fi
configure "$dir/build" --cross-file cross/aarch64-static.ini --pkg-config-path "$prefix/lib/pkgconfig" \
    -Dbench=enabled -Dtests=disabled -Donednn=disabled -Dsve_bits=128,256,512
meson compile -C "$dir/build" bnorm-bench
aarch64-linux-gnu-strip -o build/bnorm-bench-aarch64 "$dir/build/bench/bnorm-bench"
echo "built: build/bnorm-bench-aarch64"
