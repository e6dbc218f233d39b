#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run python [REQUIREMENT...]: installs the Python package into an environment of its own, as a user would, with the
# frameworks that are named, and runs its tests.
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
if (($#)) && ! "$dir/bin/pip" -q install --no-compile "$@" >"$dir/log" 2>&1; then
    echo "# pip cannot install $*"
fi
# What is read after it was freed shows.
MALLOC_PERTURB_=165 "$dir/bin/pytest" -q -rs -p no:cacheprovider --junit-xml="$dir/junit.xml" python/tests || true
python3 python/tests/counts.py "$dir/junit.xml"
