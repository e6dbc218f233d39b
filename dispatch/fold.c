/* SPDX-License-Identifier: MIT */
/* Batch norm becomes a part of the layer before it: once for a model, so in plain loops. */
#include <math.h>

#include "arguments.h"
#include "size.h"

static double factor(const bnorm_infer_params *p, size_t channel)
{
    const double gamma = p->gamma ? (double)p->gamma[channel] : 1.0;
    return gamma / sqrt((double)p->var[channel] + (double)p->epsilon);
}

/* What is folded. */
typedef struct folding {
    const bnorm_geometry *g;
    const bnorm_infer_params *p;
    const void *weights;
    void *folded;
} folding;

enum { SLICE = 64 };

/* Some lanes of a point, from a channel on; those past the last channel are padding, and become zero. */
static void fold_lanes(const folding *f, size_t in, size_t out, size_t lanes, size_t used, const double *factors)
{
    for (size_t l = 0; l < lanes; l++) {
        const double weight = l < used ? (double)bnorm_element(f->weights, f->g->in.dtype, in + l) * factors[l] : 0.0;
        bnorm_set_element(f->folded, f->g->out.dtype, out + l, (float)weight);
    }
}

static void fold_block(const folding *f, size_t image, size_t block)
{
    const bnorm_geometry *g = f->g;
    const size_t in = image * g->in.image_stride + block * g->in.block_stride;
    const size_t out = image * g->out.image_stride + block * g->out.block_stride;
    for (size_t lane = 0; lane < g->block; lane += SLICE) {
        double factors[SLICE];
        const size_t channel = bnorm_min(block * g->block + lane, g->channels),
                     lanes = bnorm_min(g->block - lane, SLICE);
        const size_t used = bnorm_min(lanes, g->channels - channel);
        for (size_t l = 0; l < used; l++)
            factors[l] = factor(f->p, channel + l);
        for (size_t point = 0; point < g->points; point++)
            fold_lanes(f, in + point * g->in.point_stride + lane, out + point * g->out.point_stride + lane, lanes, used,
                       factors);
    }
}

static void fold_bias(const bnorm_geometry *g, const bnorm_infer_params *p, const float *bias, float *folded)
{
    for (size_t c = 0; c < g->channels; c++) {
        const double value = bias ? (double)bias[c] : 0.0, beta = p->beta ? (double)p->beta[c] : 0.0;
        folded[c] = (float)((value - (double)p->mean[c]) * factor(p, c) + beta);
    }
}

static bnorm_status check(const bnorm_geometry *g, const bnorm_infer_params *p, const void *weights, const float *bias,
                          const void *folded_weights, const float *folded_bias)
{
    if (p->epilogue)
        return BNORM_ERROR_UNSUPPORTED;
    if (!bnorm_valid_epsilon(p->epsilon))
        return BNORM_ERROR_EPSILON;
    if (!p->mean || !p->var || !folded_bias)
        return BNORM_ERROR_NULL_POINTER;
    bnorm_status status = g->empty ? BNORM_OK : bnorm_check_tensors(g, weights, false, folded_weights, true);
    if (status)
        return status;
    const bnorm_range ranges[] = {
        bnorm_in_range(g, weights, false),
        bnorm_out_range(g, folded_weights, true),
        bnorm_floats(p->mean, g->channels, false),
        bnorm_floats(p->var, g->channels, false),
        bnorm_floats(p->gamma, g->channels, false),
        bnorm_floats(p->beta, g->channels, false),
        bnorm_floats(bias == folded_bias ? NULL : bias, g->channels, false),
        bnorm_floats(folded_bias, g->channels, true),
    };
    return bnorm_check_ranges(ranges, sizeof(ranges) / sizeof(*ranges), 2);
}

bnorm_status bnorm_fold(const bnorm_shape *shape, const bnorm_infer_params *params, const void *weights,
                        const float *bias, void *folded_weights, float *folded_bias)
{
    bnorm_geometry g;
    bnorm_infer_params p;
    bnorm_status status = bnorm_check_call(shape, &g, &p, sizeof(p), params, NULL);
    if (!status)
        status = check(&g, &p, weights, bias, folded_weights, folded_bias);
    if (status)
        return status;
    const folding f = { .g = &g, .p = &p, .weights = weights, .folded = folded_weights };
    for (size_t image = 0; !g.empty && image < g.batch; image++)
        for (size_t block = 0; block < g.blocks; block++)
            fold_block(&f, image, block);
    fold_bias(&g, &p, bias, folded_bias);
    return BNORM_OK;
}
