#!/bin/sh
# SPDX-License-Identifier: MIT
# mpi.sh MPIRUN PROGRAM: the program on several numbers of processes, each of which counts its checks; and the ways of
# failing in which all processes must end, and soon.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# More processes than cores: as Open MPI 4 is told, and as 5 is.
export OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
# They are all here: no network is needed.
export OMPI_MCA_btl=^tcp
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
