/* SPDX-License-Identifier: MIT */
/* bnorm_fold: a layer with folded weights gives what the layer and bnorm_infer gave, for each order of weights. */
#include <math.h>
#include <string.h>

#include "check.h"
#include "element.h"
#include "inputs.h"
#include "kernels/element.h"
#include "tensor.h"

/* In which order weights lie, from the slowest dimension on: outputs, inputs of their group, places of the filter. */
typedef enum order { OIHW, OHWI, HWIO, IOHW, OIHW16 } order;

typedef struct layer {
    const char *name;
    order order;
    size_t outputs, inputs, groups; /* of each group inputs */
    size_t filter; /* wide and high */
    bool transposed;
} layer;

static const layer layers[] = {
    { "convolution OIHW", OIHW, 20, 7, 1, 3, false },
    { "convolution OHWI", OHWI, 20, 7, 1, 3, false },
    { "convolution HWIO", HWIO, 70, 5, 1, 3, false },
    { "convolution OIhw16o", OIHW16, 20, 16, 1, 3, false },
    { "convolution OIHW in groups", OIHW, 12, 5, 3, 3, false },
    { "depthwise O1HW", OIHW, 24, 1, 24, 3, false },
    { "depthwise HWO", HWIO, 24, 1, 24, 3, false },
    { "transposed IOHW", IOHW, 9, 6, 1, 3, true },
    { "transposed IOHW in groups", IOHW, 12, 4, 2, 3, true },
    { "linear [out][in]", OIHW, 33, 129, 1, 1, false },
    { "linear [in][out]", HWIO, 130, 31, 1, 1, false },
};

enum { HEIGHT = 4, WIDTH = 5, PLACES = HEIGHT * WIDTH };

static size_t places_of(const layer *l)
{
    return l->filter * l->filter;
}

static size_t terms_of(const layer *l)
{
    return l->inputs * places_of(l);
}

/* The shape of the weights of `outputs` outputs. */
static bnorm_shape shape_of(const layer *l, size_t outputs)
{
    switch (l->order) {
    case HWIO:
        return bnorm_nhwc(1, outputs, terms_of(l));
    case IOHW:
        return bnorm_nchw(l->inputs, outputs, places_of(l));
    case OIHW16:
        return bnorm_blocked(1, outputs, terms_of(l), 16);
    default:
        return bnorm_nchw(1, outputs, terms_of(l));
    }
}

/* Where a weight is in a plain tensor [batch][channels][points] of that shape. */
static size_t index_of(const layer *l, size_t outputs, size_t o, size_t i, size_t k)
{
    if (l->order == IOHW)
        return (i * outputs + o) * places_of(l) + k;
    const bool places_first = l->order == OHWI || l->order == HWIO;
    return o * terms_of(l) + (places_first ? k * l->inputs + i : i * places_of(l) + k);
}

/* w[o][i][k] in the order of the layer, and back. */
static void reorder(const layer *l, size_t outputs, float *weights, float *w, bool back)
{
    for (size_t o = 0; o < outputs; o++)
        for (size_t i = 0; i < l->inputs; i++)
            for (size_t k = 0; k < places_of(l); k++) {
                float *const there = weights + index_of(l, outputs, o, i, k);
                float *const here = w + (o * l->inputs + i) * places_of(l) + k;
                if (back)
                    *here = *there;
                else
                    *there = *here;
            }
}

/*
 * What the layer gives, without bias, of x[groups * inputs][HEIGHT][WIDTH], with zeros around it; and the sum of the
 * terms' sizes.
 */
static long double convolve(const layer *l, const float *w, const float *x, size_t o, size_t place, long double *size)
{
    const size_t group = o / (l->outputs / l->groups), middle = l->filter / 2;
    long double sum = 0;
    *size = 0;
    for (size_t i = 0; i < l->inputs; i++)
        for (size_t k = 0; k < places_of(l); k++) {
            const size_t down = k / l->filter, right = k % l->filter;
            /* Unsigned: before the first is far behind the last. */
            const size_t row = place / WIDTH + (l->transposed ? middle - down : down - middle);
            const size_t column = place % WIDTH + (l->transposed ? middle - right : right - middle);
            if (row >= HEIGHT || column >= WIDTH)
                continue;
            const long double term = (long double)w[(o * l->inputs + i) * places_of(l) + k] *
                                     (long double)x[((group * l->inputs + i) * HEIGHT + row) * WIDTH + column];
            sum += term;
            *size += fabsl(term);
        }
    return sum;
}

/* A layer, its data, and the batch norm behind it. */
typedef struct model {
    buffers taken;
    const layer *layer;
    float *w, *x, *bias, *mean, *var, *gamma, *beta;
} model;

static float *normals(buffers *owner, size_t count, double scale, double offset, random_state *r)
{
    float *values = take_zeros(owner, count * sizeof(*values));
    for (size_t i = 0; i < count; i++)
        values[i] = (float)(random_normal(r) * scale + offset);
    return values;
}

static model model_new(const layer *l, bnorm_dtype type, double offset, random_state *r)
{
    const size_t count = l->outputs;
    model m = { .layer = l };
    m.w = normals(&m.taken, count * terms_of(l), 0.3, 0, r);
    round_elements(type, m.w, count * terms_of(l));
    m.x = normals(&m.taken, l->groups * l->inputs * PLACES, 1, 0, r);
    m.bias = normals(&m.taken, count, 1, offset, r);
    m.mean = normals(&m.taken, count, 1, offset, r);
    m.var = normals(&m.taken, count, 0.1, 1.5, r);
    m.gamma = normals(&m.taken, count, 0.5, 1, r);
    m.beta = normals(&m.taken, count, 1, 0, r);
    return m;
}

static bnorm_infer_params params_of(const model *m, size_t first)
{
    return (bnorm_infer_params){ .struct_size = sizeof(bnorm_infer_params),
                                 .mean = m->mean + first,
                                 .var = m->var + first,
                                 .gamma = m->gamma ? m->gamma + first : NULL,
                                 .beta = m->beta ? m->beta + first : NULL,
                                 .epsilon = 1e-3f };
}

/* How a call is made. */
typedef struct way {
    bnorm_dtype in, out;
    spacing in_gaps, out_gaps;
    bool in_place;
} way;

/* One call, for outputs from `first` on; w becomes the folded weights. */
static void fold_some(model *m, size_t first, size_t outputs, const way *how, float *w, float *bias)
{
    const layer *l = m->layer;
    const size_t count = outputs * terms_of(l);
    bnorm_shape shape = shape_of(l, outputs);
    const bnorm_infer_params p = params_of(m, first);
    float *values = take_zeros(&m->taken, count * sizeof(*values));
    reorder(l, outputs, values, w, false);
    shape.in = layout_of(&shape, how->in, how->in_gaps);
    shape.out = how->in_place ? shape.in : layout_of(&shape, how->out, how->out_gaps);
    tensor in = tensor_new(&m->taken, &shape, shape.in, FLUSH_END, values);
    tensor out = how->in_place ? in : tensor_new(&m->taken, &shape, shape.out, FLUSH_START, NULL);
    const float *given = m->bias ? m->bias + first : NULL;
    if (given && how->in_place) {
        memcpy(bias, given, outputs * sizeof(*bias));
        given = bias;
    }
    check(bnorm_fold(&shape, &p, in.data, given, out.data, bias) == BNORM_OK, "it was refused");
    if (!how->in_place)
        check(tensor_read(&in, w, false) && memcmp(w, values, count * sizeof(*w)) == 0, "the weights were changed");
    check(tensor_read(&out, values, true), "what is between the weights was written, or padding is not zero");
    reorder(l, outputs, values, w, true);
}

static long double factor_of(const model *m, size_t o)
{
    const bnorm_infer_params p = params_of(m, o);
    return (m->gamma ? (long double)*p.gamma : 1) / sqrtl((long double)*p.var + (long double)p.epsilon);
}

/* Each weight, and the bias, to half a unit of the last place; the 16-bit ones by way of float. */
static void check_weights(const model *m, bnorm_dtype type, const float *w, const float *bias)
{
    const size_t terms = terms_of(m->layer);
    bool weights_right = true, bias_right = true;
    for (size_t o = 0; o < m->layer->outputs; o++) {
        const long double factor = factor_of(m, o), mean = (long double)m->mean[o];
        for (size_t i = o * terms; i < (o + 1) * terms; i++) {
            const long double exact = (long double)m->w[i] * factor;
            const long double bound = fabsl(exact) * 0x1.00001p-24L + (long double)half_unit(type, w[i]);
            weights_right = weights_right && fabsl((long double)w[i] - exact) <= bound;
        }
        const long double given = m->bias ? (long double)m->bias[o] : 0, beta = m->beta ? (long double)m->beta[o] : 0;
        const long double exact = (given - mean) * factor + beta;
        const long double size = (fabsl(given) + fabsl(mean)) * fabsl(factor) + fabsl(beta);
        bias_right = bias_right && fabsl((long double)bias[o] - exact) <= fabsl(exact) * 0x1p-24L + size * 0x1p-50L;
    }
    check(weights_right, "a folded weight is off");
    check(bias_right, "a folded bias is off");
}

/* The layer and bnorm_infer, against the folded layer: apart by no more than the rounding of weights, bias and sums. */
static void check_outputs(model *m, bnorm_dtype type, const float *w, const float *bias)
{
    const layer *l = m->layer;
    const long double weight_error = type == BNORM_DTYPE_F32    ? 0x1.00001p-24L
                                     : type == BNORM_DTYPE_BF16 ? 0x1.01p-8L
                                                                : 0x1.01p-11L; /* and below 2^-14: */
    const long double subnormal = type == BNORM_DTYPE_F16 ? 0x1p-25L * (long double)terms_of(l) * 8 : 0;
    const bnorm_shape shape = bnorm_nchw(1, l->outputs, PLACES);
    const bnorm_infer_params p = params_of(m, 0);
    float *z = take_zeros(&m->taken, l->outputs * PLACES * sizeof(*z));
    float *y = take_zeros(&m->taken, l->outputs * PLACES * sizeof(*y));
    long double size;
    bool right = true;
    for (size_t o = 0; o < l->outputs; o++)
        for (size_t place = 0; place < PLACES; place++)
            z[o * PLACES + place] =
                (float)(convolve(l, m->w, m->x, o, place, &size) + (m->bias ? (long double)m->bias[o] : 0));
    check(bnorm_infer(&shape, &p, z, y, NULL) == BNORM_OK, "bnorm_infer failed");
    for (size_t o = 0; o < l->outputs; o++)
        for (size_t place = 0; place < PLACES; place++) {
            const long double both = (long double)y[o * PLACES + place];
            const long double folded = convolve(l, w, m->x, o, place, &size) + (long double)bias[o];
            const long double layer_rounding = fabsl((long double)z[o * PLACES + place] * factor_of(m, o)) * 0x1p-24L;
            const long double bound = 2e-6L * fmaxl(1, fabsl(both)) + layer_rounding + weight_error * size + subnormal +
                                      fabsl((long double)bias[o]) * 0x1p-24L;
            right = right && fabsl(both - folded) <= bound;
        }
    check(right, "the folded layer gives something else than layer and batch norm");
}

/* Folds a whole layer, in a call for each group where weights need it. */
static void fold(model *m, const way *how, float *w, float *bias)
{
    const layer *l = m->layer;
    const size_t calls = l->order == IOHW ? l->groups : 1, outputs = l->outputs / calls;
    memcpy(w, m->w, l->outputs * terms_of(l) * sizeof(*w));
    for (size_t first = 0; first < l->outputs; first += outputs)
        fold_some(m, first, outputs, how, w + first * terms_of(l), bias + first);
}

static uint64_t check_layer(const layer *l, const way *how, double offset, bool optional, uint64_t hash,
                            random_state *r)
{
    model m = model_new(l, how->in, offset, r);
    float *w = take_zeros(&m.taken, l->outputs * terms_of(l) * sizeof(*w));
    float *bias = take_zeros(&m.taken, l->outputs * sizeof(*bias));
    if (!optional)
        m.bias = m.gamma = m.beta = NULL;
    check_context("gaps %d and %d%s, offset %g%s", (int)how->in_gaps, (int)how->out_gaps,
                  how->in_place ? ", in place" : "", offset, optional ? "" : ", without bias, gamma and beta");
    fold(&m, how, w, bias);
    check_weights(&m, how->out, w, bias);
    check_outputs(&m, how->out, w, bias);
    hash = check_digest(check_digest(hash, w, l->outputs * terms_of(l)), bias, l->outputs);
    give_back(&m.taken);
    return hash;
}

/* No weights at all: a layer that gives its bias. */
static void check_empty(void)
{
    static const float mean[3] = { 1, 2, 3 }, var[3] = { 4, 4, 4 }, expected[3] = { -0.5f, -1.0f, -1.5f };
    const bnorm_infer_params p = { .struct_size = sizeof(p), .mean = mean, .var = var };
    const bnorm_shape shape = bnorm_nchw(1, 3, 0);
    float bias[3] = { 0, 0, 0 };
    check_case("no weights");
    check(bnorm_fold(&shape, &p, NULL, bias, NULL, bias) == BNORM_OK, "it was refused");
    check(memcmp(bias, expected, sizeof(bias)) == 0, "the bias is not folded");
}

/* Whether this build has the types. */
static bool check_types(const layer *l, bnorm_dtype in, bnorm_dtype out, uint64_t *hash, random_state *r)
{
    static const double offsets[] = { 0, 1e2, 1e4 };
    check_case("%s, %s to %s", l->name, type_name(in), type_name(out));
    for (size_t n = 0; n < 2 * COUNT_OF(offsets); n++) {
        way how = { in, out, (spacing)random_below(r, SPACING_COUNT), (spacing)random_below(r, SPACING_COUNT), false };
        how.in_place = how.in == how.out && n % 2;
        if (bnorm_has_type(in) && bnorm_has_type(out))
            *hash = check_layer(l, &how, offsets[n % COUNT_OF(offsets)], n < 4, *hash, r);
        else
            check_skip("this build leaves a type out");
    }
    return bnorm_has_type(in) && bnorm_has_type(out);
}

int main(int argc, char **argv)
{
    check_start(argc, argv);
    random_state r = { 1 };
    uint64_t hash = CHECK_DIGEST_START;
    bool complete = true;
    for (size_t i = 0; i < COUNT_OF(layers); i++)
        for (int types = 0; types < 9; types++)
            complete &= check_types(&layers[i], (bnorm_dtype)(types / 3), (bnorm_dtype)(types % 3), &hash, &r);
    check_case("the bits of all folded weights and biases");
    if (complete)
        check(hash == UINT64_C(0x58f7ba8b58363e19), "other bits than on other targets");
    else
        check_skip("this build leaves types out");
    check_empty();
    return check_finish();
}
