#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What hardening asks of the installed libraries is in them, as far as the compiler flags say that it should be.

usage: hardening.py FLAGS LIBRARY...
"""
import pathlib
import re
import subprocess
import sys

from tap import check, finish

# What compilers note in each object that they protect so, by the flag that asks for it.
NOTES = {"-fcf-protection": "x86 feature: IBT, SHSTK", "-mbranch-protection=standard": "AArch64 feature: BTI, PAC"}

# All that SECURITY.md lets the library call: no file, no memory, no thread. The last line is what compilers add.
ALLOWED = re.compile(r"""getenv|(__)?getauxval|mem(cpy|move|set|cmp)|str(n?cmp|len)|Sleef_\w+
    |__stack_chk_\w+|__(mem|str)\w+_chk|_ITM_\w+|__gmon_start__|__cxa_finalize|__aarch64_\w+|__atomic_\w+""", re.X)


def readelf(library, *options):
    command = ["readelf", "-W", *options, library]
    return subprocess.run(command, check=True, capture_output=True, text=True, env={"LC_ALL": "C"}).stdout


def check_shared(library, flags):
    """What holds of each shared library; full RELRO only where the linker is asked for it."""
    name = library.name
    segments = dict(re.findall(r"^  (\w+) +(?:0x\w+ +){5}([R ][W ][E ])", readelf(library, "-l"), re.M))
    loaded = re.findall(r"^  LOAD +(?:0x\w+ +){5}([R ][W ][E ])", readelf(library, "-l"), re.M)
    dynamic = readelf(library, "-d")
    check(loaded and "RWE" not in loaded, f"{name}: nothing is writable and executable")
    check(segments.get("GNU_STACK") == "RW ", f"{name}: the stack is not executable")
    check("GNU_RELRO" in segments, f"{name}: RELRO")
    check("TEXTREL" not in dynamic, f"{name}: no relocations of code")
    check("RPATH" not in dynamic and "RUNPATH" not in dynamic, f"{name}: finds its libraries where the system has them")
    if "-Wl,-z,now" in flags:
        check("NOW" in dynamic, f"{name}: bound before it runs, so that RELRO is full")


def check_functions(library, flags):
    """What the library calls: not more than it needs, and what only protected code does."""
    called = set(re.findall(r" UND (\w+)", readelf(library, "--dyn-syms")))
    more = {name for name in called if not ALLOWED.fullmatch(name)}
    check(called and not more, f"{library.name}: calls what reads and writes memory, and nothing else", f"it calls {more}")
    if "-fstack-protector-strong" in flags:
        check("__stack_chk_fail" in called, f"{library.name}: arrays on the stack are guarded")
    if any(flag.startswith("-D_FORTIFY_SOURCE=") for flag in flags):
        check("__memcpy_chk" in called, f"{library.name}: copies of known sizes are checked")


def check_notes(archive, flags):
    """The linker drops the notes where one object lacks them, and the C library's own may: so of ours, each."""
    members = readelf(archive, "-n").split("\nFile: ")[1:]
    for flag in flags & NOTES.keys():
        bare = [member.splitlines()[0] for member in members if NOTES[flag] not in member]
        check(members and not bare, f"{archive.name}: {NOTES[flag]}", f"not in {bare}")


def main(flags, *libraries):
    flags = set(flags.split())
    for library in map(pathlib.Path, libraries):
        if library.suffix == ".a":
            check_notes(library, flags)
            continue
        check_shared(library, flags)
        if library.name.startswith("libbnorm.so"):
            check_functions(library, flags)
    finish()


if __name__ == "__main__":
    main(*sys.argv[1:])
