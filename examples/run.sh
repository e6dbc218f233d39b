#!/bin/bash
# SPDX-License-Identifier: MIT
# ./run example: trains a small network with batch norm and without, and draws the losses.
source "$(dirname "$0")/../tests/common.sh"

need "${build_packages[@]}" gnuplot-nox
configure build
meson compile -C build spirals
build/tests/spirals build/loss.csv
gnuplot -c examples/loss.gp build/loss.csv build/loss.png
echo "drawn: build/loss.png"
