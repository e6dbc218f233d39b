#!/bin/bash
# SPDX-License-Identifier: MIT
# Builds and runs a program of somebody else's against bnorm in every way of docs/embedding.md: check.sh SOURCE_ROOT
# bnorm is taken as it is committed there.
set -euo pipefail
source=$(realpath "$1")
engine=$(mktemp -d)
trap 'rm -rf "$engine"' EXIT
passed=0 failed=0
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

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

# install_to PREFIX [MESON SETUP OPTION...]: from a copy of the source that is then gone.
install_to() {
    git -C "$source" archive --prefix=bnorm/ HEAD | tar -x -C "$engine"
    meson setup "$engine/build" "$engine/bnorm" --prefix "$1" --libdir lib \
        -Dtests=disabled -Dbench=disabled "${@:2}"
    meson install -C "$engine/build"
    rm -rf "$engine/bnorm" "$engine/build"
}

# ---- Installed ----

cp -r "$source/tests/consumers" "$source/examples" "$engine/"
install_to "$engine/prefix" -Dopenmp=enabled -Dpthreadpool=enabled -Dmpi=enabled >"$engine/log"
export PKG_CONFIG_PATH=$engine/prefix/lib/pkgconfig LD_LIBRARY_PATH=$engine/prefix/lib
cd "$engine"

compile_and_run() { "$@" -o consumer && ./consumer; }
warnings=(-Wall -Wextra -Wpedantic -Werror -Wno-missing-field-initializers)
in_c() { compile_and_run cc -std=c99 "${warnings[@]}" consumers/consumer.c "$@"; }
in_cxx() { compile_and_run c++ -std=c++11 "${warnings[@]}" -x c++ consumers/consumer.c -x none "$@"; }
shared() { pkg-config --cflags --libs "$1"; }

# shellcheck disable=SC2046 # words, here and below
way 'pkg-config, shared' in_c $(shared bnorm)
# shellcheck disable=SC2046
way 'pkg-config, static' in_c $(pkg-config --cflags bnorm) prefix/lib/libbnorm.a -lsleef -lm
# shellcheck disable=SC2046
way 'C++, pkg-config' in_cxx $(shared bnorm)
# shellcheck disable=SC2046
way 'OpenMP' in_c -DWITH_OPENMP $(shared bnorm-openmp)
# shellcheck disable=SC2046
way 'pthreadpool' in_c -DWITH_PTHREADPOOL $(shared bnorm-pthreadpool)
# shellcheck disable=SC2046
way 'a thread pool of its own' compile_and_run cc -std=gnu11 "${warnings[@]}" examples/threadpool.c $(shared bnorm) -pthread
over_mpi() { cc -std=c99 examples/syncbn.c "$@" -o syncbn && mpirun --oversubscribe -n 3 ./syncbn; }
# shellcheck disable=SC2046
way 'MPI' over_mpi $(shared bnorm-mpi)

# shellcheck disable=SC2086
alone() { $1 "-std=$2" "${warnings[@]}" -fsyntax-only -include "$4" -x "$3" - <<<'int main() { return 0; }'; }
for header in prefix/include/bnorm/*.h; do
    compilers=(cc c++)
    [[ $header != */mpi.h ]] || compilers=(mpicc 'mpicxx -DOMPI_SKIP_MPICXX') # its C++ interface does not pass -Werror
    way "C99, ${header##*/} alone" alone "${compilers[0]}" c99 c "$header"
    way "C11, ${header##*/} alone" alone "${compilers[0]}" c11 c "$header"
    way "C++11, ${header##*/} alone" alone "${compilers[1]}" c++11 c++ "$header"
done

in_cmake() { cmake -G Ninja -S consumers/cmake -B "$1" "${@:2}" && cmake --build "$1" --target check; }
way 'CMake, find_package' in_cmake cmake-installed -DCMAKE_PREFIX_PATH="$engine/prefix" -DCOMPONENTS="openmp;pthreadpool;mpi"
way 'Meson, installed' bash -c 'meson setup meson-installed consumers/meson && meson test -C meson-installed'

static_alone() {
    install_to "$engine/static" -Ddefault_library=static -Davx2=disabled -Davx512=disabled
    local -x PKG_CONFIG_PATH=$engine/static/lib/pkgconfig
    # shellcheck disable=SC2046
    in_c $(shared bnorm) && in_cmake cmake-static -DCMAKE_PREFIX_PATH="$engine/static" -DCOMPONENTS="openmp;pthreadpool;mpi"
}
way 'installed as a static library alone' static_alone

# ---- With a prefix, for two copies in one program ----

prefixed() {
    install_to "$engine/prefixed" -Dsymbol_prefix=engine_ -Davx2=disabled -Davx512=disabled
    local -x PKG_CONFIG_PATH=$engine/prefixed/lib/pkgconfig LD_LIBRARY_PATH=$engine/prefixed/lib
    # shellcheck disable=SC2046
    in_c $(shared engine_bnorm) && nm consumer | grep ' U engine_bnorm_infer$' &&
        in_cmake cmake-prefixed -DCMAKE_PREFIX_PATH="$engine/prefixed" -DPACKAGE=engine_bnorm
}
way 'installed with a prefix' prefixed

# An engine and its plugin, each with a shared copy of its own.
shared_copies() {
    # shellcheck disable=SC2046
    cc -shared -fPIC -Dmain=plugin consumers/consumer.c -o libplugin.so $(shared bnorm)
    echo 'int plugin(void); int engine(void); int main(void) { return engine() + plugin(); }' >shared.c
    PKG_CONFIG_PATH=$engine/prefixed/lib/pkgconfig
    # shellcheck disable=SC2046
    cc -c -Dmain=engine consumers/consumer.c -o engine.o $(pkg-config --cflags engine_bnorm)
    # shellcheck disable=SC2046
    LD_LIBRARY_PATH=$engine:$engine/prefix/lib:$engine/prefixed/lib compile_and_run cc shared.c engine.o -L. -lplugin \
        $(pkg-config --libs engine_bnorm) -Wl,-rpath-link,"$engine/prefix/lib"
}
way 'two shared copies' bash -euc "$(declare -f shared shared_copies compile_and_run); engine='$engine'; shared_copies"

# ---- As a part of the engine ----

git -C "$source" archive --prefix=bnorm/ HEAD | tar -x -C "$engine"
way 'CMake, add_subdirectory' in_cmake cmake-vendored -DVENDORED="$engine/bnorm"
way 'CMake, add_subdirectory with a prefix' in_cmake cmake-renamed -DVENDORED="$engine/bnorm" -DBNORM_PREFIX=engine_

with_wrap() {
    unset PKG_CONFIG_PATH
    mkdir -p consumers/meson/subprojects
    printf '[wrap-git]\nurl = %s\nrevision = head\ndepth = 1\n' "file://$source" >consumers/meson/subprojects/bnorm.wrap
    meson setup meson-wrap consumers/meson && meson test -C meson-wrap
}
way 'Meson, wrap' with_wrap
with_prefix() { # where one without is installed
    meson setup meson-prefixed consumers/meson -Dpackage=engine_bnorm -Dbnorm:avx2=disabled -Dbnorm:avx512=disabled &&
        meson test -C meson-prefixed && nm meson-prefixed/consumer | grep ' T engine_bnorm_infer$'
}
way 'Meson, wrap with a prefix' with_prefix

# The commands of docs/embedding.md, to the letter.
sed -n '/^<!-- plain -->$/,/^<!-- end -->$/s/^    //p' bnorm/docs/embedding.md >plain.sh
way 'plain commands' bash -euc 'mkdir plain; cd plain; cp ../consumers/consumer.c engine.c; ln -s ../bnorm bnorm; source ../plain.sh; ./engine'

executor_inside() { in_c -DWITH_PTHREADPOOL -Ibnorm/include bnorm/integrations/pthreadpool.c plain/*.o -lm -lpthreadpool; }
way 'an executor compiled into the engine' executor_inside

two_copies() {
    local copy
    for copy in one two; do
        mkdir "$copy"
        (
            cd "$copy"
            cc -std=c11 -ffp-contract=off -DBNORM_PREFIX=${copy}_ -c ../bnorm/dispatch/*.c ../bnorm/kernels/isa/scalar.c
            ar rcs libbnorm.a ./*.o
            cc -std=c99 -DBNORM_PREFIX=${copy}_ -Dmain=$copy -I../bnorm/include -c ../consumers/consumer.c
        )
    done
    echo 'int one(void); int two(void); int main(void) { return one() + two(); }' >both.c
    compile_and_run cc both.c one/consumer.o two/consumer.o one/libbnorm.a two/libbnorm.a -lm
}
way 'two copies in one program' two_copies

echo "consumers: $passed passed, $failed failed, 0 skipped"
((failed == 0))
