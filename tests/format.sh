#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run format: formats the sources, or with --check says what differs.
source "$(dirname "$0")/common.sh"

how=(-i)
[[ ${1-} != --check ]] || how=(--dry-run --Werror)
need clang-format-19 yamllint
yamllint --strict -d '{extends: default, rules: {document-start: disable, line-length: {max: 128}, truthy: {check-keys: false}}}' \
    .github
find . \( -path './build*' -o -path ./subprojects \) -prune -o \( -name '*.[ch]' -o -name '*.inc' -o -name '*.cpp' \) -print0 |
    xargs -0 clang-format-19 "${how[@]}"
