#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Cycles of the kernels' inner loops on ARM cores, as llvm-mca models them, against what their ports allow.

usage: mca.py OBJDUMP LLVM_MCA OBJECT...    objects: the kernels of NEON, or of SVE, compiled
"""

import json
import re
import subprocess
import sys

from report import table

# Cores, LLVM's model for each, and the bits of its SVE vectors that the model knows. LLVM has the Cortex-A57 for the A76,
# whose own core is Neoverse N1's, and one old core of Apple's for all of them.
CORES = [
    ("Cortex-A55", "cortex-a55", 0),
    ("Cortex-A76, Neoverse N1", "neoverse-n1", 0),
    ("Neoverse V1", "neoverse-v1", 256),
    ("Neoverse V2", "neoverse-v2", 128),
    ("Apple", "apple-m1", 0),
]
# The function a loop stands in, and per lane: the tensors and arrays of coefficients that it loads, the tensors that it
# stores, its operations. Rows load a coefficient per lane; planes and sums keep theirs in registers.
LOOPS = [
    ("inference, planes", "map_planes_normalise_f32", 1, 1, 3),
    ("inference, rows", "map_rows_normalise_f32", 4, 1, 3),
    ("sums of training, planes", "sum_planes_squares_f32", 1, 0, 4),
    ("sums of training, rows", "sum_rows_squares_f32", 1, 0, 4),
    ("sums of backward, planes", "sum_planes_products_f32", 2, 0, 4),
    ("sums of backward, rows", "sum_rows_products_f32", 2, 0, 4),
    ("dx, planes", "map_planes_gradient_f32", 2, 1, 6),
    ("dx, rows", "map_rows_gradient_f32", 7, 1, 6),
]
BRANCH = re.compile(r"b|b\.\w+|cbn?z|tbn?z")


def functions(objdump, path):
    """Instructions of each function: (address, name, arguments, the address a branch goes to)."""
    listing = subprocess.run([objdump, "-d", "--no-show-raw-insn", path], capture_output=True, text=True, check=True)
    found, current = {}, None
    for line in listing.stdout.splitlines():
        if head := re.match(r"[0-9a-f]+ <(.+)>:$", line):
            current = found.setdefault(head[1].split(".")[0], [])
        elif code := re.match(r"\s*([0-9a-f]+):\s+(\S+)\s*(.*?)(\s*//.*)?$", line):
            goes = re.search(r"\b([0-9a-f]+) <", code[3]) if BRANCH.fullmatch(code[2]) else None
            current.append((int(code[1], 16), code[2], code[3], goes and int(goes[1], 16)))
    return found


def innermost_loops(code):
    place = {address: i for i, (address, *_) in enumerate(code)}
    loops = [(place[goes], i) for i, (*_, goes) in enumerate(code) if goes in place and place[goes] <= i]
    return [code[a:b + 1] for a, b in loops if not any((c, d) != (a, b) and a <= c and d <= b for c, d in loops)]


def counts(loop):
    """Vectors loaded and stored, and operations on vectors of floats."""
    loads = stores = operations = 0
    for _, name, arguments, _ in loop:
        vectors = len(re.findall(r"\b[qz]\d+", arguments.split("[")[0]))
        if re.match(r"ld[rpu]|ld1w", name):
            loads += vectors
        elif re.match(r"st[rpu]|st1w", name):
            stores += vectors
        elif re.match(r"f(add|sub|subr|mul)$", name) and re.search(r"\.4?s\b", arguments):
            operations += 1
    return loads, stores, operations


def find(loops, loads, stores, operations):
    """The shortest loop that does as much; what is loaded again, for want of registers, is more."""
    fits = [loop for loop in loops
            if counts(loop)[2] == operations and counts(loop)[0] >= loads
            and (counts(loop)[1] >= stores if stores else counts(loop)[1] == 0)
            and sum(goes is not None for *_, goes in loop) <= 5]
    return min(fits, key=len, default=None)


def find_longest(loops, work):
    """The loop over most vectors, up to a tile, what it does of `work` per lane, and how many vectors those are."""
    for vectors in (32, 16, 8, 4, 2, 1):
        if loop := find(loops, *(vectors * count for count in work)):
            return loop, [vectors * count for count in work], vectors
    return None, work, 1


def modelled(mca, core, text):
    """What llvm-mca makes of many iterations: cycles of one, and cycles that it keeps the busiest port."""
    result = subprocess.run([mca, "-mtriple=aarch64", f"-mcpu={core}", "-mattr=+sve", "-iterations=200", "--json"], input=text,
                            capture_output=True, text=True, check=True)
    region = json.loads(result.stdout)["CodeRegions"][0]
    last = len(region["Instructions"])  # stands for all
    pressure = region["ResourcePressureView"]["ResourcePressureInfo"]
    busiest = max(port["ResourceUsage"] for port in pressure if port["InstructionIndex"] == last)
    return region["SummaryView"]["TotalCycles"] / 200, busiest


def loop_text(loop):
    """As if no branch were taken but the last: what is skipped or left, as prefetching, is counted in."""
    return "\n".join(name + " " + re.sub(r"\S+ <.*>", "1f", arguments) for _, name, arguments, _ in loop) + "\n1:\n"


def bound(mca, core, sve, loads, stores, operations):
    """The busiest port's cycles for these alone, one by one or in pairs, whichever is less."""
    if sve:
        memory = [[f"ld1w {{z{i % 24}.s}}, p0/z, [x1]" for i in range(loads)] + [f"st1w {{z{i % 24}.s}}, p0, [x2]" for i in range(stores)]]
        arithmetic = [f"fadd z{i % 24}.s, z30.s, z31.s" for i in range(operations)]
    else:
        single = [f"ldr q{i % 24}, [x1]" for i in range(loads)] + [f"str q{i % 24}, [x2]" for i in range(stores)]
        pairs = [f"ldp q{i % 12}, q{i % 12 + 12}, [x1]" for i in range(loads // 2)]
        pairs += [f"stp q{i % 12}, q{i % 12 + 12}, [x2]" for i in range(stores // 2)]
        memory = [single, pairs]
        arithmetic = [f"fadd v{i % 24}.4s, v30.4s, v31.4s" for i in range(operations)]
    return min(modelled(mca, core, "\n".join(one + arithmetic))[1] for one in memory)


def report(mca, found, bits):
    cores = [core for core in CORES if bits in (0, core[2])]
    lines = []
    for title, function, *per_lane in LOOPS:
        loop, work, vectors = find_longest(innermost_loops(found.get(function, [])), per_lane)
        pieces = vectors * (bits or 128) / 512  # of 64 bytes
        cells = []
        for _, core, _ in cores:
            if loop:
                taken, least = modelled(mca, core, loop_text(loop))[0], bound(mca, core, bits, *work)
                cells.append(f"{taken / pieces:.1f} / {least / pieces:.1f} = {taken / least:.2f}")
            else:
                cells.append("no such loop")
        lines.append([title, *cells])
    table(["", *(name for name, *_ in cores)], lines, 1)


def main(objdump, mca, *paths):
    for path in paths:
        bits = int((re.search(r"sve(\d+)", path) or [0, 0])[1])
        print(f"## {f'SVE of {bits} bits' if bits else 'NEON'}\n")
        report(mca, functions(objdump, path), bits)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
