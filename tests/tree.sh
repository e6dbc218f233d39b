#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run tree RELEASE COMMAND...: runs the command in a bare tree of a Debian release, as root. What is mounted in the tree is
# seen by the command alone, and gone with it, whatever happens.
source "$(dirname "$0")/common.sh"

tree=$PWD/build/tree-${1:?a release} kept=()
((EUID == 0)) || { skip tree 'only root can make and enter a tree'; exit; }
need debootstrap debian-archive-keyring gpgv git
unshare --mount true || { skip tree 'nothing can be mounted here'; exit; }
if [[ ! -e $tree/made ]]; then
    read -r uri _ < <(archive "$1") || { skip tree 'apt knows no archive here that it could be taken from'; exit; }
    rm -rf "$tree"
    echo "making $tree"
    quietly debootstrap --variant=minbase --force-check-gpg "$1" "$tree" "$uri" || { skip tree 'no tree could be made'; exit; }
    apt-config dump Acquire | grep -E '^Acquire::(https?|Check|Languages)' >"$tree/etc/apt/apt.conf.d/outside" || true
    touch "$tree/made"
fi
cp /etc/resolv.conf "$tree/etc/"
[[ ! -e $tree/bnorm ]] || find "$tree/bnorm" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} + # what is built is kept
git init -q "$tree/bnorm"
git ls-files -z --cached --others --exclude-standard | tar -c --null -T - --ignore-failed-read | tar -x -C "$tree/bnorm"
git -C "$tree/bnorm" add -A
git -C "$tree/bnorm" -c user.name=bnorm -c user.email= commit -qm 'as outside'
if [[ ${PIP_CERT-} ]]; then # what pip reaches outside, it must reach from there
    cp "$PIP_CERT" "$tree/etc/outside.pem"
    PIP_CERT=/etc/outside.pem
fi
for name in TESTS ISAS BNORM_DIGESTS BNORM_BENCH_PAGES BNORM_BENCH_ROUNDS http_proxy https_proxy "${!PIP_@}"; do
    [[ ! -v $name ]] || kept+=("$name=${!name}")
done
[[ -z ${BNORM_YES-}${CI-} ]] || kept+=(BNORM_YES=1)
unshare --mount bash -euc '
    mount --bind "$0" "$0" # so that "/" can be mounted on, and a tree made, in the tree
    for dir in /dev /proc /sys; do mount --rbind "$dir" "$0$dir"; done
    exec chroot "$0" env -i -C /bnorm HOME=/root "$@"' "$tree" "${kept[@]}" ./run "${@:2}"
