# SPDX-License-Identifier: MIT
"""Prints the counts of pytest's JUnit file as ./run's last line has them, and fails where something failed or none ran."""
import sys
import xml.etree.ElementTree as ElementTree

suite = ElementTree.parse(sys.argv[1]).getroot().find("testsuite")
tests, *bad, skipped = (int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped"))
passed = tests - sum(bad) - skipped
print(f"python: {passed} passed, {sum(bad)} failed, {skipped} skipped")
sys.exit(sum(bad) > 0 or passed == 0)
