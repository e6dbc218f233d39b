/* SPDX-License-Identifier: MIT */
/*
 * bnorm-opencv, linked and called: its layer gives what the formula says, fuses what it should, and leaves folding to
 * OpenCV, in tensors of any rank.
 */
extern "C" {
#include "check.h"
}
#include "bnorm/bnorm.h"
#include "bnorm/opencv.h"

#include <cmath>
#include <opencv2/core.hpp>
#include <opencv2/dnn.hpp>
#include <string>
#include <utility>
#include <vector>

using cv::Mat;
using cv::dnn::LayerParams;
using cv::dnn::Net;

namespace
{

using layers = std::vector<std::pair<std::string, LayerParams>>;

Mat random_tensor(const std::vector<int> &shape, double low, double high)
{
    Mat tensor(shape, CV_32F);
    cv::randu(tensor, low, high);
    return tensor;
}

LayerParams norm(int channels, double offset = 0.0)
{
    LayerParams params;
    params.set("has_weight", true);
    params.set("has_bias", true);
    params.set("eps", 1e-3f);
    params.blobs = { random_tensor({ 1, channels }, offset - 1, offset + 1), random_tensor({ 1, channels }, 0.5, 2),
                     random_tensor({ 1, channels }, -2, 2), random_tensor({ 1, channels }, -1, 1) };
    return params;
}

/* In double, per channel: the formula of bnorm_infer(). */
Mat normalised(const Mat &x, const LayerParams &params)
{
    const int channels = x.size[1], points = static_cast<int>(x.total(2));
    Mat y(x.dims, x.size.p, CV_32F);
    for (int i = 0; i < x.size[0] * channels; i++) {
        double p[4];
        for (size_t blob = 0; blob < 4; blob++)
            p[blob] = static_cast<double>(params.blobs[blob].at<float>(0, i % channels));
        const double scale = p[2] / std::sqrt(p[1] + static_cast<double>(params.get<float>("eps")));
        const float *from = x.ptr<float>() + i * points;
        float *to = y.ptr<float>() + i * points;
        for (int j = 0; j < points; j++)
            to[j] = static_cast<float>((static_cast<double>(from[j]) - p[0]) * scale + p[3]);
    }
    return y;
}

struct result {
    Mat y;
    std::vector<double> times; /* of each layer; 0: another one does its work */
};

Net network(const layers &parts, const Mat &x)
{
    Net net;
    for (size_t i = 0; i < parts.size(); i++) {
        LayerParams params = parts[i].second;
        net.addLayerToPrev(std::to_string(i), parts[i].first, params);
    }
    net.setInputsNames({ "x" });
    net.setPreferableBackend(cv::dnn::DNN_BACKEND_OPENCV);
    net.setInput(x);
    return net;
}

result run(const layers &parts, const Mat &x)
{
    Net net = network(parts, x);
    result r;
    r.y = net.forward().clone();
    net.getPerfProfile(r.times);
    return r;
}

bool near(const Mat &a, const Mat &b)
{
    return a.size == b.size && cv::norm(a, b, cv::NORM_INF) <= 2e-6 * cv::norm(b, cv::NORM_INF);
}

bool same(const Mat &a, const Mat &b)
{
    return a.size == b.size && same_bits(a.ptr<float>(), b.ptr<float>(), a.total());
}

cv::Ptr<cv::dnn::Layer> layer_of(LayerParams params)
{
    return cv::dnn::LayerFactory::createLayerInstance("BatchNorm", params);
}

void forward(const LayerParams &params, const Mat &x, Mat y)
{
    std::vector<Mat> inputs{ x }, outputs{ y }, internals;
    const cv::Ptr<cv::dnn::Layer> layer = layer_of(params);
    layer->finalize(cv::InputArrayOfArrays(inputs), cv::OutputArrayOfArrays(outputs));
    layer->forward(inputs, outputs, internals);
}

const std::vector<std::vector<int>> shapes{ { 1, 5 },          { 3, 64 },        { 2, 7, 33 },     { 1, 3, 8, 8 },
                                            { 8, 32, 14, 14 }, { 2, 130, 1, 1 }, { 2, 5, 3, 6, 7 } };

void check_ranks()
{
    for (const auto &shape : shapes) {
        const LayerParams params = norm(shape[1]);
        const Mat x = random_tensor(shape, -3, 3);
        check_case("%zu-D, batch %d, %d channels", shape.size(), shape[0], shape[1]);
        check(near(run({ { "BatchNorm", params } }, x).y, normalised(x, params)), "not what the formula says");
        Mat in_place = x.clone(), apart(x.dims, x.size.p, CV_32F);
        forward(params, x, apart);
        forward(params, in_place, in_place);
        check(same(in_place, apart), "in place has other bits");
    }
}

void check_memory()
{
    const LayerParams params = norm(16);
    const Mat x = random_tensor({ 3, 16, 9, 9 }, -3, 3);
    const std::vector<cv::Range> part{ cv::Range::all(), cv::Range(5, 21), cv::Range::all(), cv::Range::all() };
    Mat wide = random_tensor({ 3, 24, 9, 9 }, -3, 3), dense(x.dims, x.size.p, CV_32F);
    const Mat before = wide.clone();
    check_case("channels of a larger tensor");
    forward(params, x, dense);
    forward(params, x, wide(part));
    check(same(wide(part).clone(), dense), "other bits");
    forward(params, wide(part), wide(part));
    forward(params, dense, dense);
    check(same(wide(part).clone(), dense), "other bits in place");
    before(part).copyTo(wide(part));
    check(same(wide, before), "something was written beside them");
}

void check_threads()
{
    const LayerParams params = norm(64);
    const Mat x = random_tensor({ 4, 64, 28, 28 }, -3, 3);
    const int usual = cv::getNumThreads();
    check_case("the same bits on any number of threads");
    const Mat y = run({ { "BatchNorm", params } }, x).y;
    for (int threads : { 1, 2 }) {
        cv::setNumThreads(threads);
        check(same(run({ { "BatchNorm", params } }, x).y, y), "other bits");
    }
    cv::setNumThreads(usual);
}

void check_offset()
{
    const LayerParams params = norm(8, 1e6);
    const Mat x = random_tensor({ 2, 8, 20, 20 }, 1e6 - 1, 1e6 + 1);
    check_case("data far from zero");
    check(near(run({ { "BatchNorm", params } }, x).y, normalised(x, params)), "not what the formula says");
}

/* ---- Activations ---- */

struct activation {
    const char *type;
    bnorm_activation ours;
    std::vector<std::pair<const char *, float>> parameters;
};

const std::vector<activation> activations{
    { "ReLU", BNORM_ACT_RELU, {} },
    { "ReLU", BNORM_ACT_LEAKY_RELU, { { "negative_slope", 0.1f } } },
    { "ReLU6", BNORM_ACT_CLAMP, {} },
    { "ReLU6", BNORM_ACT_CLAMP, { { "min_value", -1.0f }, { "max_value", 2.0f } } },
    { "HardSwish", BNORM_ACT_HARD_SWISH, {} },
    { "HardSigmoid", BNORM_ACT_HARD_SIGMOID, { { "alpha", 0.3f }, { "beta", 0.4f } } },
    { "Sigmoid", BNORM_ACT_SIGMOID, {} },
    { "Swish", BNORM_ACT_SILU, {} },
    { "TanH", BNORM_ACT_TANH, {} },
    { "ELU", BNORM_ACT_ELU, { { "alpha", 0.7f } } },
    { "Mish", BNORM_ACT_MISH, {} },
    { "BNLL", BNORM_ACT_SOFTPLUS, {} },
    { "Softplus", BNORM_ACT_SOFTPLUS, {} },
    { "Gelu", BNORM_ACT_GELU, {} },
    { "GeluApproximation", BNORM_ACT_GELU_TANH, {} },
};

bool has_activation(bnorm_activation activation)
{
    const float x = 1.0f;
    float y = 0.0f;
    const bnorm_shape shape = bnorm_nchw(1, 1, 1);
    bnorm_epilogue epilogue = bnorm_epilogue_defaults();
    bnorm_infer_params params = bnorm_infer_defaults();
    epilogue.activation = activation;
    epilogue.alpha = epilogue.beta = 1.0f;
    params.epilogue = &epilogue;
    params.mean = params.var = &x;
    return bnorm_infer_check(&shape, &params, &x, &y, nullptr) == BNORM_OK;
}

void check_activations()
{
    const LayerParams params = norm(32);
    const Mat x = random_tensor({ 2, 32, 14, 14 }, -9, 9), z = run({ { "BatchNorm", params } }, x).y;
    for (const activation &a : activations) {
        LayerParams p;
        for (const auto &parameter : a.parameters)
            p.set(parameter.first, parameter.second);
        check_case("%s, %zu parameters", a.type, a.parameters.size());
        if (!cv::dnn::LayerFactory::isLayerRegistered(a.type)) {
            check_skip("this OpenCV has no such layer");
            continue;
        }
        const result fused = run({ { "BatchNorm", params }, { a.type, p } }, x);
        check(near(fused.y, run({ { a.type, p } }, z).y), "not what OpenCV's layer gives");
        check((fused.times[1] == 0.0) == has_activation(a.ours), "not fused as bnorm has it or not");
        const result twice = run({ { "BatchNorm", params }, { a.type, p }, { a.type, p } }, x);
        check(near(twice.y, run({ { a.type, p }, { a.type, p } }, z).y), "two of them are not what OpenCV gives");
    }
}

void check_others()
{
    const LayerParams params = norm(8);
    const Mat x = random_tensor({ 2, 8, 6, 6 }, -3, 3), z = run({ { "BatchNorm", params } }, x).y;
    for (const char *type : { "AbsVal", "Exp" }) {
        check_case("%s, which bnorm does not have", type);
        const result r = run({ { "BatchNorm", params }, { type, LayerParams() } }, x);
        check(near(r.y, run({ { type, LayerParams() } }, z).y) && r.times[1] > 0.0, "not OpenCV's own");
    }
}

/* ---- What OpenCV folds ---- */

void check_folding()
{
    LayerParams conv;
    conv.set("kernel_size", 1);
    conv.set("num_output", 6);
    conv.set("bias_term", false);
    conv.blobs = { random_tensor({ 6, 4, 1, 1 }, -1, 1) };
    const LayerParams params = norm(6);
    const Mat x = random_tensor({ 2, 4, 9, 9 }, -3, 3);
    check_case("into the convolution before");
    const result r = run({ { "Convolution", conv }, { "BatchNorm", params } }, x);
    check(r.times[1] == 0.0, "not folded");
    check(near(r.y, normalised(run({ { "Convolution", conv } }, x).y, params)), "not what the formula says");
}

void check_scale()
{
    LayerParams scale, caffe, plain;
    scale.set("bias_term", true);
    scale.blobs = { random_tensor({ 1, 8 }, -2, 2), random_tensor({ 1, 8 }, -1, 1) };
    plain.set("has_weight", true);
    plain.set("has_bias", true);
    caffe.blobs = { random_tensor({ 1, 8 }, -8, 8), random_tensor({ 1, 8 }, 4, 16), Mat(1, 1, CV_32F, cv::Scalar(8)) };
    for (LayerParams *params : { &caffe, &plain })
        params->set("eps", 1e-3f);
    plain.blobs = { caffe.blobs[0] / 8, caffe.blobs[1] / 8, scale.blobs[0], scale.blobs[1] };
    const Mat x = random_tensor({ 2, 8, 9, 9 }, -3, 3);
    check_case("Caffe's scale behind, and its factor of the statistics");
    const result r = run({ { "BatchNorm", caffe }, { "Scale", scale }, { "ReLU", LayerParams() } }, x);
    check(r.times[1] == 0.0 && r.times[2] == 0.0, "not fused");
    check(near(r.y, cv::max(normalised(x, plain), 0.0)), "not what the formula says");
}

void check_again()
{
    const LayerParams params = norm(8);
    LayerParams scale;
    scale.blobs = { random_tensor({ 1, 8 }, -2, 2) };
    const layers parts{ { "BatchNorm", params }, { "Scale", scale }, { "ReLU", LayerParams() } };
    Net net = network(parts, random_tensor({ 2, 8, 4, 4 }, -3, 3));
    check_case("a network that is allocated anew");
    for (int size : { 5, 9, 5 })
        for (bool fusion : { true, false }) {
            const Mat x = random_tensor({ 2, 8, size, size }, -3, 3);
            net.enableFusion(fusion);
            net.setInput(x);
            check(near(net.forward().clone(), run(parts, x).y), "not what a new network gives");
        }
}

/* ---- Where OpenCV's layer is the one that computes ---- */

void check_quantised()
{
    const Mat x = random_tensor({ 1, 8, 6, 6 }, -3, 3);
    Net net = network({ { "BatchNorm", norm(8) } }, x);
    const Mat y = net.forward().clone();
    check_case("a quantised network");
    Net quantised = net.quantize(std::vector<Mat>{ x }, CV_32F, CV_32F);
    quantised.setInput(x);
    check(cv::norm(quantised.forward(), y, cv::NORM_INF) <= 0.02 * cv::norm(y, cv::NORM_INF), "far from floats");
}

/* The last check, as it takes bnorm's layer away. */
void check_unregistered()
{
    const layers parts{ { "BatchNorm", norm(8) }, { "ReLU", LayerParams() } };
    const Mat x = random_tensor({ 1, 8, 6, 6 }, -3, 3);
    check_case("the layer taken back");
    const Mat y = run(parts, x).y;
    cv::dnn::LayerFactory::unregisterLayer("BatchNorm");
    const result stock = run(parts, x);
    check(stock.times[1] > 0.0, "still bnorm's layer");
    check(near(stock.y, y), "not what OpenCV's layer gives");
}

/* ---- Failures ---- */

std::string failure(const LayerParams &params, const Mat &x)
{
    try {
        forward(params, x, x.clone());
    } catch (const cv::Exception &e) {
        return e.err;
    }
    return "";
}

void check_failures()
{
    LayerParams negative = norm(4);
    negative.set("eps", -1.0f);
    const Mat x = random_tensor({ 1, 4, 3, 3 }, -1, 1), more = random_tensor({ 1, 5, 3, 3 }, -1, 1);
    check_case("failures are OpenCV's exceptions");
    check(failure(norm(4), x).empty(), "a failure where nothing is wrong");
    check(failure(negative, x) == std::string("bnorm: ") + bnorm_status_string(BNORM_ERROR_EPSILON), "no such status");
    check(failure(norm(4), more).find("bnorm: ") != std::string::npos, "more channels than parameters went unnoticed");
}

} // namespace

int main(int argc, char **argv)
{
    check_start(argc, argv);
    cv::theRNG().state = check_seed();
    bnorm_opencv_register();
    bnorm_opencv_register();
    check_ranks();
    check_memory();
    check_threads();
    check_offset();
    check_activations();
    check_others();
    check_folding();
    check_scale();
    check_again();
    check_quantised();
    check_failures();
    check_unregistered();
    return check_finish();
}
