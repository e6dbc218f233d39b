#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What documents repeat of the code is what the code says.

usage: docs.py SOURCE_ROOT
"""
import pathlib
import re
import sys

from tap import check, finish

root = pathlib.Path(sys.argv[1])


def read(path):
    return (root / path).read_text(encoding="utf-8")


kernels = re.findall(r"^KERNEL\((\w+),", read("kernels/kernels.def"), re.M)
listed = re.findall(r"^\| `(\w+)` \|", read("kernels/README.md"), re.M)
check(kernels and kernels == listed, "kernels/README.md lists the kernels", f"kernels/README.md lists {listed}, kernels.def has {kernels}")
check(read("examples/quickstart.c").strip() in read("README.md"), "README.md shows examples/quickstart.c")
version = re.search(r'BNORM_VERSION "(.*)"', read("include/bnorm/version.h"))[1]
numbers = re.findall(r"^#define BNORM_VERSION_\w+ (\d+)$", read("include/bnorm/version.h"), re.M)
check(version == ".".join(numbers), "version.h says one version")
check(f"## {version}" in read("CHANGELOG.md"), f"CHANGELOG.md has an entry for {version}")
tensor_kernels = {kernel for kernel in kernels if kernel.startswith(("sum_", "map_"))}
isas = ", ".join(sorted(path.stem for path in (root / "kernels/isa").glob("*.c")))
types = re.search(r"typedef enum bnorm_dtype \{(.*?)\}", read("include/bnorm/bnorm.h"), re.S)[1]
types = ", ".join(name.lower() for name in re.findall(r"BNORM_DTYPE_(\w+) =", types))
support = re.findall(r"^\| (inference|training|backward) \| (.*) \| (.*) \| (.*) \|$", read("README.md"), re.M)
check(len(support) == 3, "README.md has a table of what is supported")
check(tensor_kernels == set(re.findall(r"`(\w+)`", " ".join(row[1] for row in support))),
      "README.md names the kernels in its table of what is supported", f"they are {tensor_kernels}")
for operation, _, has_types, has_isas in support:
    check(has_types == types, f"types of {operation}", f"README.md says {has_types}, bnorm.h has {types}")
    check(has_isas == isas, f"ISAs of {operation}", f"README.md says {has_isas}, kernels/isa/ has {isas}")
enum = re.search(r"typedef enum bnorm_status \{(.*?)\}", read("include/bnorm/bnorm.h"), re.S)[1]
for status in re.findall(r"^    (BNORM_\w+) =", enum, re.M):
    check(f"case {status}:" in read("dispatch/status.c"), f"{status} has words", "not in dispatch/status.c")
finish()
