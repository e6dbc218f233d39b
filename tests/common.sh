# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What the commands of `run` share: each sources this first, and is then in the root of the project.
set -euo pipefail

# Debian's own tools, whatever pip or a shell profile would put before them.
export PATH=/usr/bin:/bin:/usr/sbin:/sbin LC_ALL=C.UTF-8 PYTHONNOUSERSITE=1
unset PYTHONPATH
called_from=$PWD
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."

# What differs between releases. Ubuntu 24.04 has the packages of the same names; nothing was tried there.
release=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
case $release in
bookworm) other_release=trixie onednn_package='' ;; # its oneDNN is of 2022
*) other_release=bookworm onednn_package=libdnnl-dev ;;
esac

build_packages=(meson ninja-build pkg-config gcc g++ libc6-dev libsleef-dev python3)

# need PACKAGE...: does nothing, asks nothing and needs no rights when all are there.
need() {
    local package missing=() as_root=() install
    for package; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed* ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    may_install "${missing[@]}" || return
    ((EUID == 0)) || as_root=(sudo)
    as_root+=(flock -o /var/lib/dpkg env DEBIAN_FRONTEND=noninteractive) # apt does not wait for another of itself
    for package in "${missing[@]}"; do
        [[ $package != *:* ]] || "${as_root[@]}" dpkg --add-architecture "${package#*:}"
    done
    as_root+=(apt-get -qq -o Acquire::Retries=3)
    install=("${as_root[@]}" install -y --no-install-recommends "${missing[@]}")
    # The lists that are there may do. One of many that does not arrive whole is no reason to stop: installing tells what
    # cannot be had.
    "${install[@]}" </dev/null &>/dev/null && return
    "${as_root[@]}" update || true
    "${install[@]}" </dev/null >/dev/null
}

# may_install PACKAGE...: --yes and a CI allow it; else whoever sits at the terminal is asked.
may_install() {
    local answer='' package
    echo "missing packages, which apt would install with what they need: $*" >&2
    [[ -z ${BNORM_YES-}${CI-} ]] || return 0
    if [[ -t 0 ]]; then
        read -r -p 'Install them? [y/N] ' answer || true
        [[ $answer != [yY]* ]] || return 0
    fi
    {
        echo "nothing was installed: './run --yes COMMAND...' does it, or, as root:"
        for package; do [[ $package != *:* ]] || echo "    dpkg --add-architecture ${package#*:}"; done | sort -u
        echo "    apt update && apt install --no-install-recommends $*"
    } >&2
    return 1
}

# quietly COMMAND...: what it prints is of interest only if it fails.
quietly() {
    local log status=0
    log=$(mktemp)
    "$@" >"$log" 2>&1 || { status=$?; cat "$log"; }
    rm -f "$log"
    return "$status"
}

# skip COMMAND WHY: instead of its checks.
skip() {
    echo "# skipped: $2"
    echo "$1: 0 passed, 0 failed, 1 skipped"
}

# configure DIR [MESON SETUP OPTION...]: sets DIR up, or brings it up to date: packages may have come since.
configure() {
    local again=()
    [[ ! -e $1/meson-private/coredata.dat ]] || again=(--reconfigure)
    meson setup "${again[@]}" "$@"
}

# archive [RELEASE]: the lines "URI RELEASE COMPONENT" of Debian's archive, or Ubuntu's, from where apt has it here.
archive() (
    source /etc/os-release
    apt-get indextargets --format "\$(REPO_URI) ${1:-$release} \$(COMPONENT)" 'Created-By: Packages' "Origin: ${ID^}" \
        "Codename: $release" | sort -u
)

# unpack_source PACKAGE DIR [RELEASE]: the source of a package, signed by its archive.
unpack_source() {
    local apt options
    apt=$(mktemp -d)
    mkdir -p "$apt/lists/partial"
    archive "${3-}" | sed 's/^/deb-src /' >"$apt/sources.list"
    options=(-qq -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::lists=$apt/lists" -o APT::Sandbox::User=)
    apt-get "${options[@]}" update
    (cd "$apt" && apt-get "${options[@]}" --download-only source "$1")
    mkdir -p "$2"
    tar -xf "$apt/$1"_*.orig.tar.* -C "$2" --strip-components 1
    rm -rf "$apt"
}
