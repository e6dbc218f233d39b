#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run size: what each option takes or leaves: the loops of each ISA by type, and two libraries with their limits.
source "$(dirname "$0")/common.sh"

# build_size DIR OPTION...: the shared library from nothing, stripped
build_size() {
    local dir=$1 option
    rm -rf "$dir"
    shift
    for option in openmp pthreadpool mpi tests bench; do set -- "$@" "-D$option=disabled"; done
    quietly configure "$dir" "$@"
    quietly meson compile -C "$dir" bnorm:shared_library
    strip -o build/libbnorm-stripped.so "$dir/libbnorm.so"
}

dir=build/size began=$SECONDS
need "${build_packages[@]}"
build_size "$dir" "$@"
took=$((SECONDS - began))
tests/size.py "$dir"/kernels/libbnorm-*.a.p
echo "size: $(stat -c %s build/libbnorm-stripped.so) bytes stripped, configured and built in $took s (aim: 1048576)"
build_size "$dir-least" -Dtypes=[] -Davx512=disabled "$@"
echo "size: $(stat -c %s build/libbnorm-stripped.so) bytes with f32 and AVX2 alone (aim: 163840)"
