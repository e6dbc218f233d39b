#!/bin/sh
# SPDX-License-Identifier: MIT
# mpi.sh MPIRUN PROGRAM: the program on several numbers of processes, each of which prints TAP of its own, here as
# comments; and the ways of failing in which all processes must end, and soon.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# More processes than cores: as Open MPI 4 is told, and as 5 is.
export OMPI_MCA_rmaps_base_oversubscribe=1 PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
# They are all here: no network is needed.
export OMPI_MCA_btl=^tcp
points=0 failed=0

# point STATUS NAME
point() {
    points=$((points + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $points - $2"
    else
        echo "not ok $points - $2"
        failed=1
    fi
}

for processes in 1 2 3 4 7; do
    output=$("$1" -n $processes "$2")
    status=$?
    printf '%s\n' "$output" | sed '/^#/!s/^/# /'
    point $status "$processes processes"
done
for way in abort shape; do
    timeout 60 "$1" -n 3 "$2" $way >/dev/null 2>&1
    status=$?
    echo "# the status is $status"
    [ $status -ne 0 ] && [ $status -ne 124 ]
    point $? "all processes end after $way"
done
echo "1..$points"
exit $failed
