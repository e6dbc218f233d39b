/* SPDX-License-Identifier: MIT */
/*
 * A program of somebody else's: runs networks in OpenCV and writes what they give. With WITH_BNORM it is one that calls
 * bnorm; without, it knows nothing of it.
 *
 * usage: program ENDING MODEL...: reads MODEL.onnx and MODEL.input.pb, writes MODEL.ENDING, which is floats
 */
#include <algorithm>
#include <fstream>
#include <iostream>
#include <opencv2/core.hpp>
#include <opencv2/dnn.hpp>
#include <string>
#include <vector>

#ifdef WITH_BNORM
#include <bnorm/opencv.h>
#endif

int main(int argc, char **argv)
{
#ifdef WITH_BNORM
    bnorm_opencv_register();
#endif
    cv::setNumThreads(2);
    for (int i = 2; i < argc; i++) {
        const std::string model = argv[i];
        cv::dnn::Net net = cv::dnn::readNetFromONNX(model + ".onnx");
        net.setInput(cv::dnn::readTensorFromONNX(model + ".input.pb"));
        const cv::Mat y = net.forward();
        std::ofstream file(model + "." + argv[1], std::ios::binary);
        file.write(y.ptr<char>(), static_cast<std::streamsize>(y.total() * y.elemSize()));
        std::vector<double> times;
        net.getPerfProfile(times);
        std::cout << std::count(times.begin(), times.end(), 0.0) << " layers are fused into others" << std::endl;
    }
    return 0;
}
