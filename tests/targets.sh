# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# The targets of cross/: the packages that each takes, and the ISAs that must run there.

vector_packages=(python3-onnx libonnx-testdata)
# What the optional libraries are for.
component_packages=(libpthreadpool-dev libopenmpi-dev openmpi-bin)
# qemu also plays the x86 CPUs that lack what this one has, in the native tests.
emulation_packages=(qemu-user-static)

# cpu_has FLAG...: as the kernel reports them, which knows what the operating system saves.
cpu_has() {
    local flag
    for flag; do grep -qm 1 -E "^(flags|Features).* $flag( |\$)" /proc/cpuinfo || return 1; done
}

# need_target NAME: the packages of a target of cross/. Debian 12 itself does not exist for riscv64, so that all take
# the cross compiler's libraries there.
need_target() {
    local packages=("${emulation_packages[@]}") arch
    case $1 in
    windows) need gcc-mingw-w64-x86-64-posix wine64; return ;;
    musl) need musl-tools; return ;;
    aarch64-static) need "${packages[@]}" gcc-aarch64-linux-gnu libc6-dev-arm64-cross; return ;;
    aarch64) arch=arm64 packages+=(gcc-aarch64-linux-gnu) ;;
    aarch64-clang) arch=arm64 packages+=(gcc-aarch64-linux-gnu clang) ;;
    arm | arm-neon) arch=armhf packages+=(gcc-arm-linux-gnueabihf) ;;
    i686) arch=i386 packages+=(gcc-i686-linux-gnu) ;;
    powerpc64le) arch=ppc64el packages+=(gcc-powerpc64le-linux-gnu) ;;
    riscv64) arch=riscv64 packages+=(gcc-riscv64-linux-gnu) ;;
    s390x) arch=s390x packages+=(gcc-s390x-linux-gnu) ;;
    *) echo "no target named $1" >&2; return 2 ;;
    esac
    packages+=("libc6-dev-$arch-cross")
    [[ $arch == riscv64 ]] || packages+=("libc6:$arch" "libgomp1:$arch" "libsleef-dev:$arch")
    need "${packages[@]}"
}

# The ISAs that must run on a target; i686 and Windows run without emulation.
isas_of_target() {
    case $1 in
    aarch64*) echo sve neon scalar ;;
    i686 | musl | windows) expected_isas | xargs ;;
    *) echo scalar ;;
    esac
}

# test_target NAME [MESON SETUP OPTION...]
test_target() {
    local name=$1 options=()
    shift
    need_target "$name"
    [[ $name != aarch64* ]] || options=(-Dsve_bits=128,256,512)
    ISAS=$(isas_of_target "$name") job ./run suite "build/$name" --cross-file "cross/$name.ini" "${options[@]}" "$@"
}
