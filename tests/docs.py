#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What documents repeat of the code is what the code says.

usage: docs.py SOURCE_ROOT
"""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
passed = failed = 0


def check(right, what):
    global passed, failed
    passed, failed = passed + right, failed + (not right)
    if not right:
        print(f"FAILED: {what}")


def read(path):
    return (root / path).read_text(encoding="utf-8")


kernels = re.findall(r"^KERNEL\((\w+),", read("kernels/kernels.def"), re.M)
listed = re.findall(r"^\| `(\w+)` \|", read("kernels/README.md"), re.M)
check(kernels and kernels == listed, f"kernels/README.md lists {listed}, kernels.def has {kernels}")
for example in ("examples/inference.c", "examples/training.c"):
    check(read(example).strip() in read("README.md"), f"README.md does not show {example}")
version = ".".join(re.findall(r"^#define BNORM_VERSION_\w+ (\d+)$", read("include/bnorm/version.h"), re.M))
check(f"## {version}" in read("CHANGELOG.md"), f"CHANGELOG.md has no entry for {version}")
tensor_kernels = {kernel for kernel in kernels if kernel.startswith(("sum_", "map_"))}
isas = ", ".join(sorted(path.stem for path in (root / "kernels/isa").glob("*.c")))
types = re.search(r"typedef enum bnorm_dtype \{(.*?)\}", read("include/bnorm/types.h"), re.S)[1]
types = ", ".join(name.lower() for name in re.findall(r"BNORM_DTYPE_(\w+) =", types))
support = re.findall(r"^\| (inference|training|backward) \| (.*) \| (.*) \| (.*) \|$", read("kernels/README.md"), re.M)
check(len(support) == 3, "kernels/README.md has no table of kernels by operation")
check(tensor_kernels == set(re.findall(r"`(\w+)`", " ".join(row[1] for row in support))),
      f"kernels/README.md names other kernels than {tensor_kernels} in its table by operation")
for operation, _, has_types, has_isas in support:
    check(has_types == types, f"{operation}: kernels/README.md says {has_types}, types.h has {types}")
    check(has_isas == isas, f"{operation}: kernels/README.md says {has_isas}, kernels/isa/ has {isas}")
enum = re.search(r"typedef enum bnorm_status \{(.*?)\}", read("include/bnorm/types.h"), re.S)[1]
for status in re.findall(r"^    (BNORM_\w+) =", enum, re.M):
    check(f"case {status}:" in read("dispatch/status.c"), f"{status} has no words in dispatch/status.c")
# Names that documents use exist: an interface's in its headers, others (of variables, macros, files) in the sources.
name = r"\b(?:bnorm|BNORM)_\w+"
sources = [path for path in root.rglob("*") if path.suffix in (".c", ".h", ".inc", ".def", ".py", ".sh", ".cpp", ".build", ".in", ".txt")]
sources = [path for path in sources if not path.relative_to(root).parts[0].startswith(("build", "subprojects"))] + [root / "run"]
names = set().union(*(re.findall(name, path.read_text(encoding="utf-8")) for path in sources))
for path in [*root.glob("*.md"), *root.glob("docs/*.md"), *root.glob("kernels/*.md")]:
    used = set(re.findall(name, path.read_text(encoding="utf-8")))
    unknown = {word for word in used - names if not (word.endswith("_") and any(known.startswith(word) for known in names))}
    check(not unknown, f"{path.name} names {sorted(unknown)}, which the sources do not have")
print(f"docs: {passed} passed, {failed} failed, 0 skipped")
sys.exit(failed > 0)
