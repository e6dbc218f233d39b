/* SPDX-License-Identifier: MIT */
/*
 * Batch norm as a layer of OpenCV's networks. OpenCV's own layer is kept beside it, for all that is not inference on
 * floats in memory: shapes, folding into convolutions, OpenCL, quantisation.
 */
#include "../../include/bnorm/bnorm.h"
#include "../../include/bnorm/opencv.h"

#include <opencv2/core.hpp>
#include <opencv2/core/utils/trace.hpp>
#include <opencv2/dnn.hpp>
#include <opencv2/dnn/all_layers.hpp>

namespace
{

using namespace cv::dnn;
using cv::InputArrayOfArrays;
using cv::Mat;
using cv::OutputArrayOfArrays;
using cv::Ptr;

/* ---- Threads --------------------------------------------------------------------------------------------------- */

void run_tasks(void *, size_t tasks, bnorm_task *task, void *argument)
{
    const auto body = [=](const cv::Range &range) {
        for (int i = range.start; i < range.end; i++)
            task(argument, static_cast<size_t>(i));
    };
    cv::parallel_for_(cv::Range(0, static_cast<int>(tasks)), body, static_cast<double>(tasks));
}

bnorm_executor executor()
{
    return { run_tasks, nullptr, static_cast<size_t>(cv::getNumThreads()) };
}

/* ---- Activations ----------------------------------------------------------------------------------------------- */

bnorm_epilogue epilogue(bnorm_activation activation, float alpha = 0.0f, float beta = 0.0f)
{
    bnorm_epilogue e = bnorm_epilogue_defaults();
    e.activation = activation;
    e.alpha = alpha;
    e.beta = beta;
    return e;
}

template <typename Kind> bool is(const ActivationLayer &layer)
{
    return dynamic_cast<const Kind *>(&layer) != nullptr;
}

/* Those without parameters. */
const struct {
    bool (*is_of)(const ActivationLayer &layer);
    bnorm_activation activation;
} plain_activations[] = {
    { is<HardSwishLayer>, BNORM_ACT_HARD_SWISH },
    { is<SigmoidLayer>, BNORM_ACT_SIGMOID },
    { is<SwishLayer>, BNORM_ACT_SILU },
    { is<TanHLayer>, BNORM_ACT_TANH },
    { is<MishLayer>, BNORM_ACT_MISH },
    { is<SoftplusLayer>, BNORM_ACT_SOFTPLUS },
    { is<BNLLLayer>, BNORM_ACT_SOFTPLUS },
#if CV_VERSION_MAJOR > 4 || CV_VERSION_MINOR >= 10
    { is<GeluLayer>, BNORM_ACT_GELU },
    { is<GeluApproximationLayer>, BNORM_ACT_GELU_TANH },
#endif
};

/* The identity where bnorm has no such activation. */
bnorm_epilogue epilogue_of(const ActivationLayer &layer)
{
    if (const auto *relu = dynamic_cast<const ReLULayer *>(&layer))
        return epilogue(BNORM_ACT_LEAKY_RELU, relu->negativeSlope);
    if (const auto *relu6 = dynamic_cast<const ReLU6Layer *>(&layer))
        return epilogue(BNORM_ACT_CLAMP, relu6->minValue, relu6->maxValue);
    if (const auto *elu = dynamic_cast<const ELULayer *>(&layer))
        return epilogue(BNORM_ACT_ELU, elu->alpha);
    if (const auto *hard = dynamic_cast<const HardSigmoidLayer *>(&layer))
        return epilogue(BNORM_ACT_HARD_SIGMOID, hard->alpha, hard->beta);
    for (const auto &plain : plain_activations)
        if (plain.is_of(layer))
            return epilogue(plain.activation);
    return bnorm_epilogue_defaults();
}

/* Whether this build of bnorm, on this CPU, computes it: some need SLEEF. */
bool is_offered(const bnorm_epilogue &e)
{
    const float one = 1.0f;
    float y = 0.0f;
    const bnorm_shape shape = bnorm_nchw(1, 1, 1);
    bnorm_infer_params params = bnorm_infer_defaults();
    params.mean = params.var = &one;
    params.epilogue = &e;
    return bnorm_infer_check(&shape, &params, &one, &y, nullptr) == BNORM_OK;
}

/* ---- Tensors --------------------------------------------------------------------------------------------------- */

/* Images may lie apart, as where OpenCV has layers write into the output of a concatenation. */
void describe(const Mat &tensor, bnorm_layout *layout)
{
    const size_t plane = tensor.total(2) * sizeof(float);
    CV_CheckTypeEQ(tensor.type(), CV_32FC1, "bnorm: tensors of floats are expected");
    CV_CheckEQ(tensor.step[1], plane, "bnorm: planes that are dense are expected");
    layout->image_stride = tensor.step[0] / sizeof(float);
}

bnorm_shape shape_of(const Mat &x, const Mat &y)
{
    CV_Assert(x.dims >= 2 && x.size == y.size);
    const size_t batch = static_cast<size_t>(x.size[0]), channels = static_cast<size_t>(x.size[1]), points = x.total(2);
    bnorm_shape shape = points == 1 ? bnorm_nhwc(batch, channels, 1) : bnorm_nchw(batch, channels, points);
    describe(x, &shape.in);
    describe(y, &shape.out);
    return shape;
}

/* A row with a value for each channel. */
Mat per_channel(const Mat &values, int channels)
{
    return values.total() == 1 ? Mat(1, channels, CV_32F, cv::Scalar(values.at<float>(0))) : values.reshape(1, 1);
}

/* ---- The layer ------------------------------------------------------------------------------------------------- */

class BatchNorm final : public BatchNormLayer
{
public:
    explicit BatchNorm(const LayerParams &params)
        : stock(BatchNormLayer::create(params)), activation(bnorm_epilogue_defaults())
    {
        setParamsFrom(params);
        hasWeights = stock->hasWeights;
        hasBias = stock->hasBias;
        epsilon = stock->epsilon;
        read_blobs(params.get<bool>("use_global_stats", true));
    }

    bool supportBackend(int backend) override
    {
        return backend == DNN_BACKEND_OPENCV;
    }

    bool getMemoryShapes(const std::vector<MatShape> &inputs, const int required, std::vector<MatShape> &outputs,
                         std::vector<MatShape> &internals) const override
    {
        return stock->getMemoryShapes(inputs, required, outputs, internals); /* true: in place where it can be */
    }

    /* A network is fused anew whenever it is allocated. */
    void finalize(InputArrayOfArrays inputs, OutputArrayOfArrays outputs) override
    {
        stock->finalize(inputs, outputs);
        fused_gamma = gamma.clone();
        fused_beta = beta.clone();
    }

    void getScaleShift(Mat &scale, Mat &shift) const override
    {
        stock->getScaleShift(scale, shift);
    }

    bool tryFuse(Ptr<Layer> &next) override
    {
        if (is_activated() || !stock->tryFuse(next))
            return false;
        Mat scale, shift;
        next->getScaleShift(scale, shift);
        if (!scale.empty()) {
            fused_gamma = fused_gamma.mul(per_channel(scale, mean.cols));
            fused_beta = fused_beta.mul(per_channel(scale, mean.cols));
        }
        if (!shift.empty())
            fused_beta += per_channel(shift, mean.cols);
        return true;
    }

    bool setActivation(const Ptr<ActivationLayer> &layer) override
    {
        if (layer && is_activated())
            return false;
        activation = layer ? epilogue_of(*layer) : bnorm_epilogue_defaults();
        if (!is_offered(activation))
            activation = bnorm_epilogue_defaults();
        return is_activated();
    }

    void forward(InputArrayOfArrays inputs, OutputArrayOfArrays outputs, OutputArrayOfArrays internals) override
    {
        CV_TRACE_FUNCTION();
        CV_TRACE_ARG_VALUE(name, "name", name.c_str());
        if (!inputs.isMatVector() || inputs.depth() != CV_32F) { /* on OpenCL, where nothing was fused */
            stock->preferableTarget = preferableTarget;
            stock->forward(inputs, outputs, internals);
            return;
        }
        std::vector<Mat> x, y;
        inputs.getMatVector(x);
        outputs.getMatVector(y);
        CV_CheckEQ(x.size(), static_cast<size_t>(1), "bnorm: one input is expected");
        for (Mat &output : y)
            infer(x[0], output);
    }

    /* A piece of another layer, which took this one for its activation: too short to be worth a call of bnorm. */
    void forwardSlice(const float *x, float *y, int length, size_t plane, int first, int end) const override
    {
        stock->forwardSlice(x, y, length, plane, first, end);
    }

    using BatchNormLayer::forwardSlice;

    bool tryQuantize(const std::vector<std::vector<float>> &scales, const std::vector<std::vector<int>> &zeros,
                     LayerParams &params) override
    {
        return stock->tryQuantize(scales, zeros, params);
    }

    int64 getFLOPS(const std::vector<MatShape> &inputs, const std::vector<MatShape> &outputs) const override
    {
        return stock->getFLOPS(inputs, outputs);
    }

private:
    const Ptr<BatchNormLayer> stock;
    Mat mean, var, gamma, beta; /* as given, one value per channel */
    Mat fused_gamma, fused_beta; /* with the layers behind that scale and shift */
    bnorm_epilogue activation;

    /* OpenCV's layer has checked the blobs: mean, variance, gamma and beta; Caffe's third one divides the first two. */
    void read_blobs(bool use_global_stats)
    {
        const size_t count = blobs.size();
        mean = blobs[0].reshape(1, 1);
        var = blobs[1].reshape(1, 1);
        gamma = hasWeights ? blobs[count - 1 - (hasBias ? 1 : 0)].reshape(1, 1) : Mat::ones(mean.size(), CV_32F);
        beta = hasBias ? blobs[count - 1].reshape(1, 1) : Mat::zeros(mean.size(), CV_32F);
        if (hasWeights || hasBias || count == 2 || !use_global_stats)
            return;
        const float divisor = blobs[2].at<float>(0), factor = divisor != 0.0f ? 1.0f / divisor : 0.0f;
        mean = mean * factor;
        var = var * factor;
    }

    bool is_activated() const
    {
        return activation.activation != BNORM_ACT_IDENTITY;
    }

    void infer(const Mat &x, Mat &y) const
    {
        const bnorm_shape shape = shape_of(x, y);
        const bnorm_executor threads = executor();
        bnorm_infer_params params = bnorm_infer_defaults();
        CV_CheckEQ(shape.channels, mean.total(), "bnorm: the input has another number of channels than the parameters");
        params.mean = mean.ptr<float>();
        params.var = var.ptr<float>();
        params.gamma = fused_gamma.ptr<float>();
        params.beta = fused_beta.ptr<float>();
        params.epsilon = epsilon;
        params.epilogue = &activation;
        const bnorm_status status = bnorm_infer(&shape, &params, x.ptr<float>(), y.ptr<float>(), &threads);
        if (status)
            CV_Error(cv::Error::StsError, cv::format("bnorm: %s", bnorm_status_string(status)));
    }
};

Ptr<Layer> create(LayerParams &params)
{
    return cv::makePtr<BatchNorm>(params);
}

bool add_to_factory()
{
    LayerFactory::registerLayer("BatchNorm", create);
    return true;
}

} // namespace

void bnorm_opencv_register(void)
{
    static const bool registered = add_to_factory();
    (void)registered;
}

namespace
{

/* Programs that know nothing of bnorm need only load the library. */
const struct on_load {
    on_load()
    {
        bnorm_opencv_register();
    }
} registers_on_load;

} // namespace
