#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run engines [--check]: builds bnorm-opencv, tests the layer, runs networks in OpenCV with and without it, compares
# what they give with ONNX Runtime, and measures them, unless it is only to check.
source "$(dirname "$0")/../../run"

dir=build/engines prefix=$PWD/build/engines/prefix venv=build/engines/venv
need "${build_packages[@]}" python3-venv
if ! need libopencv-dev python3-opencv; then
    [[ -n ${BNORM_YES-}${CI-} ]] || exit 1
    skip opencv 'apt cannot install libopencv-dev and python3-opencv'
    exit
fi

off=()
for option in openmp pthreadpool mpi bench; do off+=("-D$option=disabled"); done
quietly configure "$dir" "${off[@]}" -Dopencv=enabled -Ddefault_library=shared --prefix "$prefix" --libdir lib
quietly meson compile -C "$dir" bnorm bnorm-opencv test-opencv
job meson test -C "$dir" --no-rebuild opencv
quietly meson install -C "$dir" --no-rebuild

[[ -e $venv ]] || python3 -m venv "$venv"
if ! "$venv/bin/pip" -q install onnx onnxruntime >"$dir/log" 2>&1; then
    job skip opencv 'pip cannot install onnx and onnxruntime, which write and check the networks'
    summary
    exit
fi
models=$dir/models
rm -rf "$models"
"$venv/bin/python" integrations/opencv/models.py "$models"

# A program of somebody else's, and one that is linked with bnorm.
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
read -r -a opencv <<<"$(pkg-config --cflags opencv4) -lopencv_dnn -lopencv_core"
read -r -a bnorm <<<"$(pkg-config --cflags --libs bnorm-opencv)"
c++ -O2 integrations/opencv/program.cpp "${opencv[@]}" -o "$models/program"
c++ -O2 -DWITH_BNORM integrations/opencv/program.cpp "${opencv[@]}" "${bnorm[@]}" -o "$models/linked"
export LD_LIBRARY_PATH=$prefix/lib
job python3 integrations/opencv/compare.py "$@" "$prefix/lib/libbnorm-opencv.so" "$models"
summary
