/* SPDX-License-Identifier: MIT */
/*
 * A small network learns to tell three spirals apart, once with batch norm and once without, from the same weights and
 * the same data: nineteen layers of 32 and a last one, which is deep for plain steps down the gradient.
 *
 *     spirals [FILE]
 *
 * prints both curves of the loss and how much of new data each network gets right; FILE receives the curves as lines of
 * "step, loss with batch norm, loss without". `./run example` draws them.
 */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bnorm/bnorm.h>

enum { BATCH = 192, CLASSES = 3, HIDDEN = 32, LAYERS = 20, STEPS = 600, REPORT = 60, TESTS = 50 };

static const float learning_rate = 0.2f, epsilon = 1e-5f;

/* ---- Data ---- */

static uint64_t random_bits;

static float uniform(void)
{
    random_bits = random_bits * 6364136223846793005u + 1442695040888963407u;
    return (float)(random_bits >> 40) * 0x1p-24f;
}

static float normal(void)
{
    return sqrtf(-2.0f * logf(uniform() + 1e-7f)) * cosf(6.2831853f * uniform());
}

static void draw_spirals(float points[BATCH * 2], int classes[BATCH])
{
    for (int i = 0; i < BATCH; i++) {
        const float t = uniform(), angle = 5.0f * t + 2.0943951f * (float)(i % CLASSES) + 0.15f * normal();
        classes[i] = i % CLASSES;
        points[2 * i] = t * cosf(angle);
        points[2 * i + 1] = t * sinf(angle);
    }
}

/* ---- Layers: out = relu(norm(in * weights)), the last without norm and ReLU ---- */

typedef struct layer {
    int inputs, outputs;
    float weights[HIDDEN * HIDDEN], gradient[HIDDEN * HIDDEN]; /* [inputs][outputs] */
    float gamma[HIDDEN], beta[HIDDEN], dgamma[HIDDEN], dbeta[HIDDEN]; /* without batch norm, beta is the bias */
    float running_mean[HIDDEN], running_var[HIDDEN], mean[HIDDEN], mean_low[HIDDEN], rstd[HIDDEN];
    float product[BATCH * HIDDEN], out[BATCH * HIDDEN], delta[BATCH * HIDDEN];
} layer;

typedef struct network {
    bool batch_norm;
    layer layers[LAYERS];
    void *workspace;
    size_t workspace_size;
} network;

/* What follows batch norm: the forward calls do it in the same pass, the backward call goes through it. */
static const bnorm_epilogue relu = { .struct_size = sizeof(relu), .activation = BNORM_ACT_RELU };

static void check(bnorm_status status)
{
    if (status != BNORM_OK) {
        fprintf(stderr, "%s\n", bnorm_status_string(status));
        exit(1);
    }
}

static bool is_last(const network *net, const layer *l)
{
    return l == net->layers + LAYERS - 1;
}

static network *new_network(bool batch_norm)
{
    network *net = calloc(1, sizeof(*net));
    const bnorm_shape shape = bnorm_nhwc(BATCH, HIDDEN, 1);
    size_t backward_size;
    check(bnorm_workspace_size(&shape, BNORM_OP_TRAIN, NULL, &net->workspace_size));
    check(bnorm_workspace_size(&shape, BNORM_OP_BACKWARD, NULL, &backward_size));
    if (net->workspace_size < backward_size)
        net->workspace_size = backward_size;
    net->workspace = malloc(net->workspace_size);
    net->batch_norm = batch_norm;
    random_bits = 1; /* both networks begin with the same weights */
    for (int i = 0; i < LAYERS; i++) {
        layer *l = &net->layers[i];
        l->inputs = i == 0 ? 2 : HIDDEN;
        l->outputs = i == LAYERS - 1 ? CLASSES : HIDDEN;
        for (int w = 0; w < l->inputs * l->outputs; w++)
            l->weights[w] = normal() * sqrtf(2.0f / (float)l->inputs); /* He et al. 2015 */
        for (int c = 0; c < l->outputs; c++)
            l->gamma[c] = l->running_var[c] = 1.0f;
    }
    return net;
}

static void multiply(const float *in, const layer *l, float *product)
{
    memset(product, 0, (size_t)(BATCH * l->outputs) * sizeof(*product));
    for (int n = 0; n < BATCH; n++)
        for (int i = 0; i < l->inputs; i++)
            for (int o = 0; o < l->outputs; o++)
                product[n * l->outputs + o] += in[n * l->inputs + i] * l->weights[i * l->outputs + o];
}

static void normalise(network *net, layer *l, bool training)
{
    const bnorm_shape shape = bnorm_nhwc(BATCH, (size_t)l->outputs, 1);
    const bnorm_train_params train = { .struct_size = sizeof(train),
                                       .gamma = l->gamma,
                                       .beta = l->beta,
                                       .epsilon = epsilon,
                                       .momentum = 0.1f,
                                       .running_mean = l->running_mean,
                                       .running_var = l->running_var,
                                       .saved_mean = l->mean,
                                       .saved_mean_low = l->mean_low,
                                       .saved_rstd = l->rstd,
                                       .epilogue = &relu };
    const bnorm_infer_params infer = { .struct_size = sizeof(infer),
                                       .mean = l->running_mean,
                                       .var = l->running_var,
                                       .gamma = l->gamma,
                                       .beta = l->beta,
                                       .epsilon = epsilon,
                                       .epilogue = &relu };
    if (training)
        check(bnorm_train(&shape, &train, l->product, l->out, net->workspace, net->workspace_size, NULL));
    else
        check(bnorm_infer(&shape, &infer, l->product, l->out, NULL));
}

static void forward(network *net, const float *points, bool training)
{
    const float *in = points;
    for (layer *l = net->layers; l < net->layers + LAYERS; in = l->out, l++) {
        multiply(in, l, l->product);
        if (net->batch_norm && !is_last(net, l))
            normalise(net, l, training);
        else
            for (int i = 0; i < BATCH * l->outputs; i++) {
                l->out[i] = l->product[i] + l->beta[i % l->outputs];
                if (!is_last(net, l))
                    l->out[i] = fmaxf(l->out[i], 0.0f);
            }
    }
}

/* The gradient of a layer's products, in the place of the gradient of its output; and those of gamma and beta. */
static void normalise_backward(network *net, layer *l)
{
    const bnorm_shape shape = bnorm_nhwc(BATCH, (size_t)l->outputs, 1);
    const bnorm_backward_params params = { .struct_size = sizeof(params),
                                           .epilogue = &relu,
                                           .gamma = l->gamma,
                                           .beta = l->beta,
                                           .mean = l->mean,
                                           .mean_low = l->mean_low,
                                           .rstd = l->rstd,
                                           .dgamma = l->dgamma,
                                           .dbeta = l->dbeta };
    check(bnorm_backward(&shape, &params, l->product, l->delta, l->delta, net->workspace, net->workspace_size, NULL));
}

static void bias_backward(const network *net, layer *l)
{
    memset(l->dbeta, 0, sizeof(l->dbeta));
    for (int i = 0; i < BATCH * l->outputs; i++) {
        if (!is_last(net, l) && l->out[i] <= 0.0f)
            l->delta[i] = 0.0f;
        l->dbeta[i % l->outputs] += l->delta[i];
    }
}

static void multiply_backward(layer *l, const float *in, float *in_delta)
{
    memset(l->gradient, 0, sizeof(l->gradient));
    for (int n = 0; n < BATCH; n++)
        for (int i = 0; i < l->inputs; i++) {
            float sum = 0.0f;
            for (int o = 0; o < l->outputs; o++) {
                const float delta = l->delta[n * l->outputs + o];
                l->gradient[i * l->outputs + o] += in[n * l->inputs + i] * delta;
                sum += delta * l->weights[i * l->outputs + o];
            }
            if (in_delta)
                in_delta[n * l->inputs + i] = sum;
        }
}

static void descend(float *values, const float *gradient, int count)
{
    for (int i = 0; i < count; i++)
        values[i] -= learning_rate * gradient[i];
}

static void backward(network *net, const float *points)
{
    for (int i = LAYERS - 1; i >= 0; i--) {
        layer *l = &net->layers[i];
        const bool normalised = net->batch_norm && !is_last(net, l);
        if (normalised)
            normalise_backward(net, l);
        else
            bias_backward(net, l);
        multiply_backward(l, i ? net->layers[i - 1].out : points, i ? net->layers[i - 1].delta : NULL);
        descend(l->weights, l->gradient, l->inputs * l->outputs);
        descend(l->beta, l->dbeta, l->outputs);
        if (normalised)
            descend(l->gamma, l->dgamma, l->outputs);
    }
}

/* ---- Training ---- */

/* The mean cross-entropy, and its gradient in the last layer's delta; counts what is right. */
static float loss(network *net, const int classes[BATCH], int *right)
{
    layer *last = &net->layers[LAYERS - 1];
    float total = 0.0f;
    for (int n = 0; n < BATCH; n++) {
        const float *out = last->out + n * CLASSES;
        float *delta = last->delta + n * CLASSES, sum = 0.0f, largest = fmaxf(out[0], fmaxf(out[1], out[2]));
        for (int c = 0; c < CLASSES; c++)
            sum += delta[c] = expf(out[c] - largest);
        for (int c = 0; c < CLASSES; c++)
            delta[c] = (delta[c] / sum - (float)(c == classes[n])) / BATCH;
        total += logf(sum) + largest - out[classes[n]];
        *right += out[classes[n]] == largest;
    }
    return total / BATCH;
}

static float train(network *net, float curve[STEPS])
{
    static float points[BATCH * 2];
    static int classes[BATCH];
    int right = 0;
    random_bits = 2; /* and see the same data */
    for (int step = 0; step < STEPS; step++) {
        draw_spirals(points, classes);
        forward(net, points, true);
        curve[step] = loss(net, classes, &right);
        backward(net, points);
    }
    right = 0;
    for (int i = 0; i < TESTS; i++) {
        draw_spirals(points, classes);
        forward(net, points, false);
        loss(net, classes, &right);
    }
    free(net->workspace);
    free(net);
    return (float)right / (TESTS * BATCH);
}

/* Of the REPORT steps up to one. */
static float recent(const float curve[STEPS], int step)
{
    float sum = 0.0f;
    for (int s = step - REPORT; s < step; s++)
        sum += curve[s];
    return sum / REPORT;
}

int main(int argc, char **argv)
{
    static float with[STEPS], without[STEPS];
    const float right_with = train(new_network(true), with), right_without = train(new_network(false), without);
    printf("%-14s%-14s%s\n", "loss up to", "with", "without");
    for (int step = REPORT; step <= STEPS; step += REPORT)
        printf("step %-9d%-14.3f%.3f\n", step, (double)recent(with, step), (double)recent(without, step));
    printf("%-14s%-14.3f%.3f\n", "right", (double)right_with, (double)right_without);
    if (argc > 1) {
        FILE *file = fopen(argv[1], "w");
        if (!file) {
            perror(argv[1]);
            return 1;
        }
        for (int step = 0; step < STEPS; step++)
            fprintf(file, "%d, %g, %g\n", step, (double)with[step], (double)without[step]);
        fclose(file);
    }
    return !(recent(with, STEPS) < recent(without, STEPS)); /* the point of it all */
}
