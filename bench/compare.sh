#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run compare FILE...: lays the JSON of several machines side by side.
source "$(dirname "$0")/../tests/common.sh"

files=()
for file; do files+=("$(cd "$called_from" && realpath "$file")"); done
need python3
python3 bench/compare.py "${files[@]}"
