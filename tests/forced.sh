#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs a program that must die of an illegal instruction: a shell's status for that is 128 + 4.
echo 1..1
"$@"
status=$?
[ $status -eq 132 ] && echo 'ok 1 - an illegal instruction' && exit 0
echo "# the status is $status"
echo 'not ok 1 - an illegal instruction'
exit 1
