#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kernels/README.md lists the kernels of kernels.def, in their order.

usage: list.py kernels.def README.md
"""
import re
import sys

kernels = re.findall(r"^KERNEL\((\w+),", open(sys.argv[1]).read(), re.M)
listed = re.findall(r"^\| `(\w+)` \|", open(sys.argv[2]).read(), re.M)
right = sum(a == b for a, b in zip(kernels, listed))
wrong = max(len(kernels), len(listed)) - right
for name in sorted(set(kernels) ^ set(listed)):
    print(f"FAILED: {name} is in {'kernels.def' if name in kernels else 'README.md'} only")
print(f"list: {right} passed, {wrong} failed, 0 skipped")
sys.exit(bool(wrong) or not kernels)
