#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run supply: what a distribution asks of a library: the same bytes from two places, hardening, and a list of what is linked.
source "$(dirname "$0")/../run"

# Debian's flags name no place with a space.
work=build/supply one=build/supply/one two=build/supply/another/and-deeper

# install PLACE BUILD [MESON OPTION...]: what is built of the sources in PLACE, in BUILD there, to PLACE/root-BUILD.
install() (
    cd "$1"
    quietly meson setup "$2" --prefix /usr --libdir lib -Dtests=disabled -Dbench=disabled "${@:3}"
    quietly meson compile -C "$2"
    DESTDIR=$PWD/root-$2 quietly meson install -C "$2" --no-rebuild
)

# hardened PLACE COMMAND...: with the flags of Debian's packages there, and those that only some releases have.
hardened() (
    export DEB_BUILD_MAINT_OPTIONS=hardening=+all
    [[ $(uname -m) != x86_64 ]] || export DEB_CFLAGS_APPEND='-fstack-clash-protection -fcf-protection'
    eval "$(cd "$1" && dpkg-buildflags --export=sh)"
    "${@:2}"
)

# same TREE TREE: names, modes, links and each byte.
same() {
    diff <(cd "$1" && find . -printf '%P %M %l\n' | sort) <(cd "$2" && find . -printf '%P %M %l\n' | sort) && diff -r "$1" "$2"
}

# kernels_keep_options BUILD: whatever CFLAGS say, loops over vectors are unrolled, and no code moves between ISAs.
kernels_keep_options() {
    local line last kernels=0
    while IFS= read -r line; do
        last=$(grep -oE -- ' -O[^ ]*| -f(no-)?lto[^ ]*' <<<"$line" | tail -n 2 | xargs)
        [[ $last == '-O3 -fno-lto' ]] || { echo "$last: $line"; return 1; }
        kernels=$((kernels + 1))
    done < <(grep -E '"command": .*/isa/(avx|neon|sve)' "$1/compile_commands.json")
    echo "$kernels kernels"
}

# quick_tests BUILD: of statuses and bits.
quick_tests() {
    meson configure "$1" -Dtests=enabled
    BNORM_DIGESTS=${BNORM_DIGESTS-4} BNORM_REQUIRE=$(expected_isas | paste -s -d ,) \
        meson test -C "$1" errors dispatch digests process </dev/null || true
    python3 tests/summary.py "$1"
}

# list_linked: the SBOM of what was installed, and of the benchmarks of './run package' where they are.
list_linked() {
    local version benchmarks
    if [[ ! -e build/sbom/made ]]; then
        rm -rf build/sbom
        python3 -m venv build/sbom
        build/sbom/bin/pip -q install spdx-tools==0.8.5 &>build/sbom/log || { skip sbom 'pip cannot fetch spdx-tools'; return; }
        touch build/sbom/made
    fi
    version=$(sed -n 's/^#define BNORM_VERSION_[A-Z]* \([0-9]*\)$/\1/p' include/bnorm/version.h | paste -s -d .)
    mapfile -t benchmarks < <(compgen -G 'build/bnorm-bench-*')
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 0) \
        build/sbom/bin/python tests/sbom.py "$version" "$one/root-build/usr" build/bnorm.spdx.json "${benchmarks[@]}"
}

need "${build_packages[@]}" "${component_packages[@]}" dpkg-dev git python3-venv
rm -rf "$work"
for place in "$one" "$two"; do
    mkdir -p "$place"
    git ls-files -z --cached --others --exclude-standard | tar -c --null -T - --ignore-failed-read | tar -x -C "$place"
done

# As it is; the directories that it is built in differ, too.
install "$one" build
(umask 077 && TZ=Pacific/Apia LC_ALL=C install "$two" 'build of others')
job same "$one/root-build" "$two/root-build of others"
job python3 tests/hardening.py '' "$one"/root-build/usr/lib/*.so.*.*.*

# As a distribution builds it, which has a name for the directory, as debug information tells of it.
hardened "$one" install "$one" package --buildtype=plain -Dwerror=true
(umask 077 && TZ=Pacific/Apia LC_ALL=C hardened "$two" install "$two" package --buildtype=plain -Dwerror=true)
job same "$one/root-package" "$two/root-package"
flags=$(hardened "$one" printenv CPPFLAGS CFLAGS LDFLAGS | xargs)
job python3 tests/hardening.py "$flags" "$one"/root-package/usr/lib/{*.so.*.*.*,libbnorm.a}
job kernels_keep_options "$one/package"
job hardened "$one" quick_tests "$one/package"

job list_linked
summary
