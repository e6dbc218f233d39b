#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs a program that must die of an illegal instruction: a shell's status for that is 128 + 4.
"$@"
status=$?
if [ $status -eq 132 ]; then
    echo "forced: 1 passed, 0 failed, 0 skipped"
else
    echo "FAILED: the status is $status"
    echo "forced: 0 passed, 1 failed, 0 skipped"
    exit 1
fi
