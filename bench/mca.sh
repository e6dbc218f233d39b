#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run mca: the inner loops on ARM cores, as LLVM models them.
source "$(dirname "$0")/../tests/common.sh"
source tests/targets.sh

target=aarch64
[[ ${1-} != --target ]] || target=${2:?--target needs a name}
need "${build_packages[@]}" llvm-19
need_target "$target"
configure "build/mca-$target" --cross-file "cross/$target.ini" -Dtests=disabled -Dbench=disabled -Dsve_bits=128,256
meson compile -C "build/mca-$target"
python3 bench/mca.py aarch64-linux-gnu-objdump llvm-mca-19 \
    "build/mca-$target"/kernels/libbnorm-{neon,sve128,sve256}.a.p/*.o
