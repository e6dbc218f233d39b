#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run peers [RELEASE | pip [REQUIREMENT...]]: builds oneDNN, of which batch norm alone, from the source package of a Debian
# release; or has pip install PyTorch, ONNX Runtime and ncnn, or what is named, for the benchmark.
source "$(dirname "$0")/../tests/common.sh"

dir=build/peers
if [[ ${1-} == pip ]]; then
    need python3-venv
    (($# > 1)) || set -- pip torch onnxruntime ncnn
    rm -rf "$dir/python"
    python3 -m venv "$dir/python"
    if ! quietly "$dir/python/bin/pip" install --no-compile numpy onnx "${@:2}"; then
        rm -rf "$dir/python"
        skip peers 'pip cannot install them'
        exit
    fi
    "$dir/python/bin/pip" list | grep -iE '^(torch|onnxruntime|ncnn) '
    exit
fi

others='convolution|_conv_|deconv|inner_product|pool|lrn|softmax|resampling|shuffle|prelu|reduction'
others+='|(layer|group|instance)_norm|br[dg][eg]mm|uni_reorder|rnn/|matmul/'
need cmake ninja-build g++ libc6-dev xz-utils debian-archive-keyring
rm -rf "$dir"/{onednn,build,new,prefix} # what pip installed stays
unpack_source onednn "$dir/onednn" "${1:-trixie}"
# Batch norm takes a few files of many, so that this takes five minutes on two cores and not half an hour. If one of
# those left out is needed after all, nothing is linked.
find "$dir/onednn/src" -regextype egrep -regex ".*(/common/gemm|/cpu/.*($others).*)\.cpp" ! -name '*_list.cpp' -delete
# Its common files several at once, which parses their headers once; the others have names in common.
echo 'set_property(TARGET ${OBJ_LIB} PROPERTY UNITY_BUILD ON)' >>"$dir/onednn/src/common/CMakeLists.txt"
quietly cmake -G Ninja -S "$dir/onednn" -B "$dir/build" -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_INSTALL_PREFIX="$PWD/$dir/new" -DCMAKE_INSTALL_LIBDIR=lib -DCMAKE_SHARED_LINKER_FLAGS=-Wl,-z,defs \
    -DONEDNN_CPU_RUNTIME=OMP -DONEDNN_BUILD_TESTS=OFF -DONEDNN_BUILD_EXAMPLES=OFF -DONEDNN_BUILD_GRAPH=OFF \
    -DONEDNN_ENABLE_JIT_PROFILING=OFF -DONEDNN_ENABLE_ITT_TASKS=OFF -DONEDNN_ENABLE_GEMM_KERNELS_ISA=NONE \
    -DONEDNN_ENABLE_PRIMITIVE='BATCH_NORMALIZATION;BINARY;ELTWISE'
cmake --build "$dir/build" --target install
mv "$dir/new" "$dir/prefix" # there only when it is whole
rm -rf "$dir/build" "$dir/onednn"
echo "built: $dir/prefix"
