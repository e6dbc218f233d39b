#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run package [--target NAME]: one static benchmark for 64-bit ARM Linux and Android, and on x86-64 one for Linux on that.
source "$(dirname "$0")/../tests/common.sh"
source tests/targets.sh

# package ARCH [MESON OPTION...]
package() {
    local arch=$1 dir=build/package-$1
    local prefix=$PWD/$dir/prefix anywhere=-ffile-prefix-map=$PWD=. # asserts in headers name their files
    if [[ ! -e $prefix/lib/libbenchmark.a ]]; then # Debian has it as a shared library only
        [[ -e build/package/CMakeLists.txt ]] || unpack_source benchmark build/package
        quietly cmake -G Ninja -S build/package -B "$dir/benchmark" -DCMAKE_BUILD_TYPE=Release -DCMAKE_SYSTEM_NAME=Linux \
            -DCMAKE_CXX_COMPILER="$arch-linux-gnu-g++" -DCMAKE_CXX_FLAGS="$anywhere" \
            -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib \
            -DBENCHMARK_ENABLE_TESTING=OFF -DHAVE_STD_REGEX=ON -DRUN_HAVE_STD_REGEX=0 -DRUN_HAVE_STEADY_CLOCK=0
        quietly cmake --build "$dir/benchmark" --target install
    fi
    quietly configure "$dir/build" --pkg-config-path "$prefix/lib/pkgconfig" -Dbench=enabled -Dtests=disabled \
        -Donednn=disabled -Dxnnpack=disabled -Dcpp_args="$anywhere" "${@:2}"
    quietly meson compile -C "$dir/build" bnorm-bench
    "$arch-linux-gnu-strip" -o "build/bnorm-bench-$arch" "$dir/build/bench/bnorm-bench"
    ! grep -qF "$PWD" "build/bnorm-bench-$arch" || { echo "build/bnorm-bench-$arch tells where it was built"; return 1; }
    echo "built: build/bnorm-bench-$arch"
}

targets=(aarch64)
[[ $(uname -m) != x86_64 ]] || targets+=(x86_64)
[[ ${1-} != --target ]] || targets=("${2:?--target needs a name}")
need "${build_packages[@]}" cmake
for target in "${targets[@]}"; do
    case $target in
    aarch64)
        need g++-aarch64-linux-gnu
        need_target aarch64-static
        package aarch64 --cross-file cross/aarch64-static.ini -Dsve_bits=128,256,512
        ;;
    x86_64)
        package x86_64 -Dc_link_args=-static -Dcpp_link_args=-static -Ddefault_library=static -Dsleef=disabled \
            -Dopenmp=disabled -Dpthreadpool=disabled -Dmpi=disabled
        ;;
    *) echo "a package is made for aarch64 and x86_64" >&2; exit 2 ;;
    esac
done
