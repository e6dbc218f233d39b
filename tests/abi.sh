#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run abi: what the shared library promises to programs, against the record of this version.
source "$(dirname "$0")/common.sh"

# write_abi SOURCE DIR FILE: what the shared library of a source tree, built in DIR, promises to programs.
write_abi() {
    local source=$1 dir=$2 file=$3 option off=()
    # The same whatever there is inside.
    for option in avx2 avx512 neon sve sleef openmp pthreadpool mpi tests bench; do off+=("-D$option=disabled"); done
    quietly configure "$dir" "$source" -Dbuildtype=debug "${off[@]}"
    quietly meson compile -C "$dir" bnorm:shared_library
    abidw --headers-dir "$source/include/bnorm" --drop-private-types --exported-interfaces-only --type-id-style hash \
        --no-corpus-path --no-comp-dir-path --no-show-locs --no-parameter-names --no-elf-needed \
        --out-file "$file" "$dir/libbnorm.so"
}

need "${build_packages[@]}" abigail-tools
version=$(sed -n 's/^#define BNORM_VERSION_[A-Z]* \([0-9]*\)$/\1/p' include/bnorm/version.h | paste -s -d .)
record=tests/abi/$version.xml changed=build/abi-changed
mkdir -p build
if [[ ${1-} == --record ]]; then
    write_abi . build/abi "$record"
    exit
fi
if [[ $(uname -m) != x86_64 ]]; then
    skip abi 'records are of x86-64'
    exit
fi
write_abi . build/abi build/abi.xml
if ! abidiff "$record" build/abi.xml; then
    echo "abi: 0 passed, 1 failed, 0 skipped"
    exit 1
fi
# The check must see it when a struct changes.
rm -rf "$changed"
mkdir "$changed"
cp -r meson.build meson_options.txt include dispatch kernels integrations "$changed"
sed -i 's/^    float alpha;/    double alpha;/' "$changed/include/bnorm/params.h"
write_abi "$changed" "$changed/build" build/abi-changed.xml
if abidiff "$record" build/abi-changed.xml >build/abi-changed.log || ! grep -q alpha build/abi-changed.log; then
    echo "a changed struct was not noticed"
    echo "abi: 1 passed, 1 failed, 0 skipped"
    exit 1
fi
echo "abi: 2 passed, 0 failed, 0 skipped"
