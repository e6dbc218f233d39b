#!/bin/bash
# SPDX-License-Identifier: MIT
# Builds and runs a program of somebody else's against bnorm in every way of docs/embedding.md: check.sh SOURCE_ROOT
# bnorm is taken as it is committed there.
set -euo pipefail
source=$(realpath "$1")
engine=$(mktemp -d)
trap 'rm -rf "$engine"' EXIT
passed=0 failed=0

# way WHAT COMMAND...: one way in, which must work.
way() {
    if "${@:2}" >"$engine/log" 2>&1; then
        echo "works: $1"
        passed=$((passed + 1))
    else
        cat "$engine/log"
        echo "FAILED: $1"
        failed=$((failed + 1))
    fi
}

# Installed, and then without the source.
cp -r "$source/tests/consumers" "$engine/"
git -C "$source" archive --prefix=bnorm/ HEAD | tar -x -C "$engine"
meson setup "$engine/build" "$engine/bnorm" --prefix "$engine/prefix" --libdir lib -Dtests=disabled -Dbench=disabled >"$engine/log"
meson install -C "$engine/build" >>"$engine/log"
rm -rf "$engine/bnorm" "$engine/build"
export PKG_CONFIG_PATH=$engine/prefix/lib/pkgconfig LD_LIBRARY_PATH=$engine/prefix/lib
cd "$engine"

compile_and_run() { "$@" -o consumer && ./consumer; }
warnings=(-Wall -Wextra -Wpedantic -Werror -Wno-missing-field-initializers)
in_c() { compile_and_run cc -std=c99 "${warnings[@]}" consumers/consumer.c "$@"; }
in_cxx() { compile_and_run c++ -std=c++11 "${warnings[@]}" -x c++ consumers/consumer.c -x none "$@"; }

# shellcheck disable=SC2046 # words
way 'pkg-config, shared' in_c $(pkg-config --cflags --libs bnorm)
# shellcheck disable=SC2046
way 'pkg-config, static' in_c $(pkg-config --cflags bnorm) prefix/lib/libbnorm.a -lsleef -lm
# shellcheck disable=SC2046
way 'C++, pkg-config' in_cxx $(pkg-config --cflags --libs bnorm)
alone() { "$1" "-std=$2" "${warnings[@]}" -fsyntax-only -include "$4" -x "$3" - <<<'int main() { return 0; }'; }
for header in prefix/include/bnorm/*.h; do
    way "C99, ${header##*/} alone" alone cc c99 c "$header"
    way "C11, ${header##*/} alone" alone cc c11 c "$header"
    way "C++11, ${header##*/} alone" alone c++ c++11 c++ "$header"
done

in_cmake() { cmake -G Ninja -S consumers/cmake -B "$1" "${@:2}" && cmake --build "$1" --target check; }
way 'CMake, find_package' in_cmake cmake-installed -DCMAKE_PREFIX_PATH="$engine/prefix"

# As a part of the engine.
git -C "$source" archive --prefix=bnorm/ HEAD | tar -x -C "$engine"
way 'CMake, add_subdirectory' in_cmake cmake-vendored -DVENDORED="$engine/bnorm"

with_wrap() {
    unset PKG_CONFIG_PATH
    mkdir -p consumers/meson/subprojects
    printf '[wrap-git]\nurl = %s\nrevision = head\ndepth = 1\n' "file://$source" >consumers/meson/subprojects/bnorm.wrap
    meson setup meson-wrap consumers/meson && meson test -C meson-wrap
}
way 'Meson, installed' bash -c 'meson setup meson-installed consumers/meson && meson test -C meson-installed'
way 'Meson, wrap' with_wrap

# The commands of docs/embedding.md, to the letter.
sed -n '/^<!-- plain -->$/,/^<!-- end -->$/s/^    //p' bnorm/docs/embedding.md >plain.sh
way 'plain commands' bash -euc 'cp consumers/consumer.c engine.c; source ./plain.sh; ./engine'

echo "consumers: $passed passed, $failed failed, 0 skipped"
((failed == 0))
