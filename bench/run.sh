#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run bench: builds the benchmark, measures, and prints the table.
source "$(dirname "$0")/../tests/common.sh"

rows=() json=build/bench.json packages=("${build_packages[@]}" libbenchmark-dev git) options=() flags=() status=0
peers=0 built=$PWD/build/peers/prefix python=build/peers/python/bin/python usual='/f32/(resnet50|mobilenet_v2)\.'
while (($#)); do
    case $1 in
    # Every set but that of all sizes, whose largest takes gigabytes.
    --peers) peers=1 usual='/[^s/][a-z0-9_]*\.[a-z0-9_]+/(onednn(-avx2)?|avx2|avx512|neon)/' ;;
    -D*) options+=("$1") ;;
    --filter) rows=(--benchmark_filter="${2:?--filter needs a regular expression}"); shift ;;
    --rows) rows=("${2:?--rows needs quick or whole}"); shift ;;
    --json) json=$(cd "$called_from" && realpath -m "${2:?--json needs a file}"); shift ;;
    *) flags+=("$1") ;;
    esac
    shift
done
if ((peers)) && [[ "${options[*]}" != *-Donednn_prefix=* ]]; then
    [[ -e $built || ${peer_packages[*]} ]] || bench/peers.sh
    packages+=("${peer_packages[@]}")
    [[ -e $built ]] || built=''
    options+=("-Donednn_prefix=$built")
fi
need "${packages[@]}"
configure build "${options[@]}"
meson compile -C build bnorm-bench
rm -f "$json"
if ((peers)) && [[ -e $python ]]; then
    export BNORM_BENCH_PEERS="$python bench/python_peer.py"
fi
build/bench/bnorm-bench "${rows[@]:---benchmark_filter=$usual}" --benchmark_out="$json" --benchmark_out_format=json \
    "${flags[@]}" || status=$?
[[ ! -s $json ]] || python3 bench/report.py "$json"
exit "$status" # a row that failed is in the table, and fails the run
