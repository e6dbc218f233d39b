#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The code of each ISA by the type of its loops, in KiB: size.py DIRECTORY..., the objects of one ISA in each"""
import pathlib
import re
import subprocess
import sys

COLUMNS = {"f32": ["f32"], "bf16": ["bf16", "bf16_fast"], "f16": ["f16"], "mixed types": ["any"]}


def sizes(directory):
    """Bytes of code by the ending of a function's name, and of all."""
    objects = pathlib.Path(directory).glob("*.o")
    lines = subprocess.run(["nm", "-S", "-t", "d", *objects], check=True, capture_output=True, text=True).stdout
    found = {"": 0}
    for size, name in re.findall(r"^\d+ (\d+) [tT] (\S+)$", lines, re.M):
        ending = re.search(r"_(f32|bf16|bf16_fast|f16|any)$", name)
        for key in {"", ending[1] if ending else ""}:
            found[key] = found.get(key, 0) + int(size)
    return found


print(f"| KiB of code | {' | '.join(COLUMNS)} | all else |")
print("|---" * (len(COLUMNS) + 2) + "|")
for directory in sys.argv[1:]:
    found = sizes(directory)
    cells = [sum(found.get(ending, 0) for ending in endings) for endings in COLUMNS.values()]
    cells.append(found[""] - sum(cells))
    isa = re.search(r"libbnorm-(\w+)\.a\.p", directory)[1]
    print(f"| {isa} | {' | '.join(str(cell // 1024) for cell in cells)} |")
