#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run pytorch PYTHON: compares with the PyTorch of that Python.
source "$(dirname "$0")/../tests/common.sh"

python=${1:?a Python that has PyTorch}
[[ $python != */* ]] || python=$(cd "$called_from" && realpath -s "$python") # a virtual environment's is a link
need "${build_packages[@]}"
configure build -Dopenmp=enabled
meson compile -C build bnorm:shared_library bnorm-openmp:shared_library
"$python" bench/pytorch.py build "${@:2}"
