#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run mutate [COUNT [FILE...]]: the share of changed libraries that the tests tell from the right one.
source "$(dirname "$0")/common.sh"

dir=build/mutants count=${1:-600}
need "${build_packages[@]}" qemu-user-static
rm -rf "$dir"
mkdir -p "$dir/sources"
tar -c --exclude=./build --exclude=./.git . | tar -x -C "$dir/sources"
touch "$dir/sources/mutant.h"
# The tests are to be quick; what the compiler makes of a mutant is of no interest.
meson setup "$dir/build" "$dir/sources" -Dc_args="-w -O1 -include $PWD/$dir/sources/mutant.h" -Ddefault_library=static \
    -Dbench=disabled -Dopenmp=disabled -Dpthreadpool=disabled -Dmpi=disabled
export BNORM_DIGESTS=4
python3 tests/mutate.py "$dir/sources" "$dir/build" "$count" "${@:2}"
