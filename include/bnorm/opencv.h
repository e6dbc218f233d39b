/* SPDX-License-Identifier: MIT */
/**
 * @file
 * bnorm inside OpenCV's networks (cv::dnn): a separate, optional library, bnorm-opencv.
 *
 * The layers "BatchNorm" of networks that are read after it was loaded are then computed by bnorm_infer(), on OpenCV's
 * threads, with the activation behind them in the same pass. What fails in them is a cv::Exception, as in every layer.
 * docs/opencv.md has what is fused, and what stays with OpenCV.
 */
#ifndef BNORM_OPENCV_H
#define BNORM_OPENCV_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Registers the layer, once in a process. Loading the shared library does so by itself; a program that calls this is
 * linked with it for sure, also where it is static.
 */
BNORM_API void bnorm_opencv_register(void);

#ifdef __cplusplus
}
#endif

#endif
