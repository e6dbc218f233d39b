# SPDX-License-Identifier: MIT
"""program.cpp in Python, which knows nothing of bnorm.

usage: program.py ENDING MODEL...
"""
import sys

import cv2

cv2.setNumThreads(2)
for model in sys.argv[2:]:
    net = cv2.dnn.readNetFromONNX(model + ".onnx")
    net.setInput(cv2.dnn.readTensorFromONNX(model + ".input.pb"))
    net.forward().tofile(model + "." + sys.argv[1])
    times = net.getPerfProfile()[1]
    print((times == 0).sum(), "layers are fused into others")
