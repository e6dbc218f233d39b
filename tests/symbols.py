#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The shared library exports what bnorm.h declares, and nothing else; the static one what bnorm/prefix.h lists.

usage: symbols.py SOURCE_ROOT PREFIX NM LIBRARY...
"""
import pathlib
import re
import subprocess
import sys

from tap import check, finish, skip

root, prefix, nm, *libraries = sys.argv[1:]


def names_in(library, *options):
    output = subprocess.run([nm, *options, "--defined-only", library], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1] for line in output.splitlines() if re.match(r"[0-9a-f]+ [A-Z] ", line)}


def read(path):
    return pathlib.Path(root, path).read_text(encoding="utf-8")


listed = set(re.findall(r"^#define (bnorm_\w+) BNORM_PREFIXED\(\1\)$", read("include/bnorm/prefix.h"), re.M))
declared = {path.stem: set(re.findall(r"^BNORM_API [^;]*?\b(bnorm_\w+)\(", path.read_text(encoding="utf-8"), re.M))
            for path in pathlib.Path(root, "include/bnorm").glob("*.h")}
optional = {path.stem for path in pathlib.Path(root, "integrations").iterdir()}
exported = set().union(*(names for header, names in declared.items() if header not in optional))
interface = set().union(*declared.values())
# Of which a machine has some.
tables = set(re.findall(r"^extern const bnorm_kernels (\w+);", read("kernels/kernels.h"), re.M))
check(exported and interface <= listed, "bnorm/prefix.h has what the headers declare", f"but for {interface - listed}")
for library in libraries:
    if library.endswith(".a"):
        names = names_in(library, "-g")
        unknown = {name for name in names if not name.startswith(prefix) or name[len(prefix):] not in listed}
        check(names and not unknown, "every name of the static library is prefixed", f"not in bnorm/prefix.h: {unknown}")
        gone = listed - interface - tables - {name[len(prefix):] for name in names}
        check(tables and not gone, "bnorm/prefix.h has no other names", f"gone: {gone}")
    elif library.endswith(".so") or ".so." in library:
        # musl's start files, which are linked into every library, do not hide theirs.
        names = names_in(library, "-D") - {"_init", "_fini"}
        expected = {prefix + name for name in exported}
        for name in sorted(names | expected):
            check(name in names & expected, f"{name} is declared and exported",
                  f"it is {'exported' if name in names else 'declared'} only")
    else:
        skip(f"the names of {pathlib.Path(library).name}", "not a library that nm lists the exports of")
finish()
