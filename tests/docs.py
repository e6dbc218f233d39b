#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What documents repeat of the code is what the code says.

usage: docs.py SOURCE_ROOT
"""
import pathlib
import re
import subprocess
import sys

from tap import check, finish

root = pathlib.Path(sys.argv[1])


def read(path):
    return (root / path).read_text(encoding="utf-8")


kernels = re.findall(r"^KERNEL\((\w+),", read("kernels/kernels.def"), re.M)
listed = re.findall(r"^\| `(\w+)` \|", read("kernels/README.md"), re.M)
check(kernels and kernels == listed, "kernels/README.md lists the kernels", f"it has {listed}, kernels.def {kernels}")
for example in ("examples/inference.c", "examples/training.c", "examples/pytorch.py"):
    check(read(example).strip() in read("README.md"), f"README.md shows {example}")
version = ".".join(re.findall(r"^#define BNORM_VERSION_\w+ (\d+)$", read("include/bnorm/version.h"), re.M))
check(f"## {version}" in read("CHANGELOG.md"), f"CHANGELOG.md has an entry for {version}")
tensor_kernels = {kernel for kernel in kernels if kernel.startswith(("sum_", "map_"))}
isas = ", ".join(sorted(path.stem for path in (root / "kernels/isa").glob("*.c")))
types = re.search(r"typedef enum bnorm_dtype \{(.*?)\}", read("include/bnorm/types.h"), re.S)[1]
types = ", ".join(name.lower() for name in re.findall(r"BNORM_DTYPE_(\w+) =", types))
support = re.findall(r"^\| (inference|training|backward) \| (.*) \| (.*) \| (.*) \|$", read("kernels/README.md"), re.M)
check(len(support) == 3, "kernels/README.md has a table of kernels by operation")
check(tensor_kernels == set(re.findall(r"`(\w+)`", " ".join(row[1] for row in support))),
      "kernels/README.md names the kernels that go through tensors", f"they are {tensor_kernels}")
for operation, _, has_types, has_isas in support:
    check(has_types == types, f"types of {operation}", f"kernels/README.md says {has_types}, types.h has {types}")
    check(has_isas == isas, f"ISAs of {operation}", f"kernels/README.md says {has_isas}, kernels/isa/ has {isas}")
enum = re.search(r"typedef enum bnorm_status \{(.*?)\}", read("include/bnorm/types.h"), re.S)[1]
for status in re.findall(r"^    (BNORM_\w+) =", enum, re.M):
    check(f"case {status}:" in read("dispatch/status.c"), f"{status} has words", "not in dispatch/status.c")
numbers = subprocess.run([sys.executable, root / "bench/documents.py", "--check"], check=False, stderr=subprocess.PIPE, text=True)
check(numbers.returncode == 0, "numbers are those of the results that are kept", numbers.stderr)
jobs = set(re.findall(r"^ *if want ([\w-]+) ", read(".ci/run"), re.M))
asked = set(re.findall(r"name: ([\w-]+)\}", read(".github/workflows/ci.yml")))
check(asked and asked <= jobs, "the workflow names jobs of .ci/run", f"not {asked - jobs}")

# Names that documents use exist: of the interface in its headers, of variables, macros and files in the sources.
name = r"\b(?:bnorm|BNORM)_\w+"
endings = {".c", ".h", ".inc", ".def", ".py", ".sh", ".cpp", ".build", ".in", ".ini", ".txt", ".yml"}
sources = [path for path in root.rglob("*") if path.suffix in endings or path == root / "run"]
sources = [path for path in sources if not path.relative_to(root).parts[0].startswith(("build", "subprojects"))]
shown = {root / "examples" / name for name in ("inference.c", "training.c", "pytorch.py")}
bare = [str(path.relative_to(root)) for path in sources if path.suffix != ".txt" and path not in shown
        and "SPDX-License-Identifier: MIT" not in path.read_text(encoding="utf-8")[:200]]
check(not bare, "every source names its licence", f"but for {bare}")
names = set().union(*(re.findall(name, path.read_text(encoding="utf-8")) for path in sources))
for path in [*root.glob("*.md"), *root.glob("docs/*.md"), *root.glob("kernels/*.md"), *root.glob("python/*.md")]:
    words = set(re.findall(name, path.read_text(encoding="utf-8"))) - names
    unknown = {word for word in words if not (word.endswith("_") and any(known.startswith(word) for known in names))}
    check(not unknown, f"{path.name} uses names that exist", f"these do not: {sorted(unknown)}")
finish()
