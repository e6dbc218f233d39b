#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run systems: compiles, without linking, for 64-bit ARM systems that are not to be had here.
source "$(dirname "$0")/common.sh"

musl=(-nostdlibinc -isystem "/usr/include/$(uname -m)-linux-musl") compiled=0
need clang musl-dev mingw-w64-common
mkdir -p build
echo 'int elf_aux_info(int, void *, int);' >build/freebsd.h
for system in aarch64-linux-android24 arm64-apple-macos11 aarch64-w64-mingw32 aarch64-unknown-freebsd13; do
    case $system in
    *mingw32) headers=(-nostdlibinc -isystem /usr/share/mingw-w64/include) ;;
    *freebsd*) headers=("${musl[@]}" -include build/freebsd.h) ;;
    *) headers=("${musl[@]}") ;;
    esac
    for source in dispatch/*.c kernels/isa/{scalar,neon}.c; do
        clang --target="$system" "${headers[@]}" -std=c11 -Wall -Wextra -Wconversion -Werror -fsyntax-only \
            -ffp-contract=off -DBNORM_HAVE_NEON "$source"
        compiled=$((compiled + 1))
    done
done
echo "systems: $compiled passed, 0 failed, 0 skipped"
