#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run chart PYTHON: measures, beside oneDNN and the PyTorch of that Python, and draws docs/throughput.svg.
source "$(dirname "$0")/../tests/common.sh"

python=${1:?a Python that has PyTorch}
[[ $python != */* ]] || python=$(cd "$called_from" && realpath -s "$python")
need "${build_packages[@]}" libbenchmark-dev python3-matplotlib
BNORM_BENCH_ROUNDS=${BNORM_BENCH_ROUNDS-5} bench/run.sh --peers --json build/chart-bench.json --filter \
    "^(infer|train|backward)/(nchw|nhwc|nchw(8|16)c)/f32/resnet50\.[a-z0-9]+/(onednn|avx2|avx512|neon|sve)/t$(nproc)/"
bench/pytorch.sh "$python" --batch 32 --types f32 --json build/chart-pytorch.json
python3 bench/chart.py build/chart-bench.json build/chart-pytorch.json docs/throughput.svg
