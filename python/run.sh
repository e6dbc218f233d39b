#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run python: installs the Python package into an environment of its own, as a user would, and runs its tests; with
# PyTorch and Keras where BNORM_TORCH says which PyTorch, as in BNORM_TORCH=torch==2.13.0.
source "$(dirname "$0")/../tests/common.sh"

dir=build/python
need gcc g++ libc6-dev python3-venv
rm -rf "$dir"
python3 -m venv "$dir"
if ! "$dir/bin/pip" -q download --no-deps -d "$dir/probe" meson-python >"$dir/log" 2>&1; then
    skip python 'pip cannot fetch what builds the package'
    exit
fi
quietly "$dir/bin/pip" install '.[test]'
if [[ -n ${BNORM_TORCH-} ]] && ! "$dir/bin/pip" -q install --no-compile "$BNORM_TORCH" keras >"$dir/log" 2>&1; then
    echo "# pip cannot fetch $BNORM_TORCH and keras"
fi
# What is read after it was freed shows.
MALLOC_PERTURB_=165 "$dir/bin/pytest" -q -rs -p no:cacheprovider --junit-xml="$dir/junit.xml" python/tests || true
python3 python/tests/counts.py "$dir/junit.xml"
