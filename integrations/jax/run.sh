#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run engines [--check]: runs networks in Flax with bnorm's batch norm and Flax's own, compares what they give, and
# measures them, unless it is only to check.
source "$(dirname "$0")/../../tests/common.sh"

venv=build/engines/jax log=build/engines/jax.log
need gcc g++ libc6-dev python3-venv
mkdir -p build/engines
[[ -e $venv ]] || python3 -m venv "$venv"
if ! "$venv/bin/pip" -q install jax flax >"$log" 2>&1; then
    skip jax 'pip cannot install jax and flax'
    exit
fi
quietly "$venv/bin/pip" install .
"$venv/bin/python" integrations/jax/compare.py "$@"
