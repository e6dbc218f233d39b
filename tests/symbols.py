#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The shared library exports what bnorm.h declares, and nothing else.

usage: symbols.py NM LIBRARY HEADER
"""
import re
import subprocess
import sys

nm, library, header = sys.argv[1:]
if not library.endswith((".so", ".dylib")) and ".so." not in library:
    print("# skipped: there is no shared library in this build\nsymbols: 0 passed, 0 failed, 1 skipped")
    sys.exit(77)
names = subprocess.run([nm, "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
exported = {line.split()[-1] for line in names.splitlines()}
declared = set(re.findall(r"^BNORM_API [^;]*?\b(bnorm_\w+)\(", open(header).read(), re.M))
wrong = exported ^ declared
for name in sorted(wrong):
    print(f"FAILED: {name} is {'exported' if name in exported else 'declared'} only")
print(f"symbols: {len(exported & declared)} passed, {len(wrong)} failed, 0 skipped")
sys.exit(bool(wrong) or not declared)
