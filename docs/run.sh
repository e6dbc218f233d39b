#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run docs: makes the pages of the interface from the headers, and fails where something has no words.
source "$(dirname "$0")/../tests/common.sh"

need doxygen
rm -rf build/docs
mkdir -p build/docs
if ! doxygen docs/Doxyfile; then
    echo "docs: 0 passed, 1 failed, 0 skipped"
    exit 1
fi
echo "made: build/docs/index.html"
echo "docs: 1 passed, 0 failed, 0 skipped"
