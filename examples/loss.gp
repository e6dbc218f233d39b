# SPDX-License-Identifier: MIT
# Draws what spirals.c writes: gnuplot -c loss.gp CSV PNG
set terminal pngcairo size 900, 540
set output ARG2
set datafile separator ","
set title "nineteen layers of 32 learn to tell three spirals apart"
set xlabel "step"
set ylabel "loss (cross-entropy)"
set yrange [0:1.5]
set grid
plot ARG1 using 1:2 with lines lw 2 title "with batch norm", \
     ARG1 using 1:3 with lines lw 2 title "without"
