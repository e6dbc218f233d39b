#!/bin/sh
# SPDX-License-Identifier: MIT
# mpi.sh MPIRUN PROGRAM: the program on several numbers of processes, each of which counts its checks; and the ways of
# failing in which all processes must end, and soon.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
failed=0
for processes in 1 2 3 4 7; do
    "$1" -n $processes "$2" || failed=1
done
for way in abort shape; do
    timeout 60 "$1" -n 3 "$2" $way >/dev/null 2>&1
    status=$?
    if [ $status -ne 0 ] && [ $status -ne 124 ]; then
        echo "$way: 1 passed, 0 failed, 0 skipped"
    else
        echo "FAILED: $way: the status is $status"
        echo "$way: 0 passed, 1 failed, 0 skipped"
        failed=1
    fi
done
exit $failed
