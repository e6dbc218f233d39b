#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run report [--quick | JSON | --check]: measures beside oneDNN, and makes one page of the results: build/report.html; or of
# a file that is there; or of those that are kept, which a browser then tries.
source "$(dirname "$0")/../run"

if [[ ${1-} == --check ]]; then
    need python3-matplotlib python3-selenium chromium chromium-driver
    for file in bench/results/*.json; do
        python3 bench/page.py "$file" build/report.html
        job python3 tests/page.py build/report.html build
    done
    summary
    exit
fi

json='' rounds=9 best=$(expected_isas | head -n 1) threads=t$(nproc)/
some='/f32/(size|resnet50|mobilenet_v2|densenet121|efficientnet_b0|unet3d|audio|points|tabular)\.[a-z0-9_]+'
blocks='nchw16c|nchw8c' types='bf16|f16' large='resnet50\.(conv1|stage1a|stage1b|stage2a|stage2b)'
for argument; do
    case $argument in
    --quick)
        rounds=5 large='resnet50\.(conv1|stage1b|stage2b)'
        some="/f32/(size\.(1k|16k|256k|4m|64m)|resnet50\.(conv1|stage[1-4]b)|mobilenet_v2\.(expand1|expand3|head)"
        some+='|densenet121\.block2|points\.pointnet64|tabular\.bn1d)'
        ;;
    *) json=$(cd "$called_from" && realpath "$argument") ;;
    esac
done
need python3-matplotlib
if [[ -z $json ]]; then
    json=build/report.json
    rows="(nchw|nhwc)$some/(onednn|naive|scalar|$best)/$threads"        # speed by network and size
    rows+="|($blocks)/f32/$large/(onednn|naive|$best)/$threads"         # and layout
    rows+="|(nchw|nhwc|$blocks)/($types)/$large/$best/$threads"         # types
    rows+="|(nchw|nhwc|$blocks)/f32/$large/$best/t1/"                   # threads
    BNORM_BENCH_ROUNDS=${BNORM_BENCH_ROUNDS-$rounds} bench/run.sh --peers --json "$json" \
        --filter "^(infer|train|backward)/($rows)" >build/report.md || [[ -s $json ]]
fi
python3 bench/page.py "$json" build/report.html
echo "build/report.html"
