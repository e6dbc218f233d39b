# SPDX-License-Identifier: MIT
"""TAP for the test programs that are scripts: as tests/check.h has it for those in C."""
import sys

points = failures = 0


def check(right, name, why=""):
    """Prints a point; `why` is told when it fails."""
    global points, failures
    points, failures = points + 1, failures + (not right)
    if not right and why:
        print(f"# {why}")
    print(f"{'ok' if right else 'not ok'} {points} - {name}", flush=True)


def skip(name, why):
    global points
    points += 1
    print(f"ok {points} - {name} # SKIP {why}")


def skip_all(why):
    print(f"1..0 # SKIP {why}")
    sys.exit(0)


def finish():
    print(f"1..{points}")
    sys.exit(failures > 0 or points == 0)
