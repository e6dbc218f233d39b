/* SPDX-License-Identifier: MIT */
#include "oracle.h"

#include <math.h>

oracle_moments oracle_channel(const float *x, size_t batch, size_t channels, size_t points, size_t channel)
{
    long double count = (long double)batch * (long double)points, sum = 0, rest = 0, sum_sq = 0;
    for (size_t n = 0; n < batch; n++)
        for (size_t p = 0; p < points; p++)
            sum += (long double)x[(n * channels + channel) * points + p];
    long double mean = sum / count;
    for (size_t n = 0; n < batch; n++)
        for (size_t p = 0; p < points; p++) {
            long double d = (long double)x[(n * channels + channel) * points + p] - mean;
            rest += d;
            sum_sq += d * d;
        }
    oracle_moments m = { mean, sum_sq / count, rest / count };
    return m;
}

long double oracle_value(float x, oracle_moments m, float epsilon, float gamma, float beta)
{
    return ((long double)x - m.mean - m.mean_low) / sqrtl(m.var + (long double)epsilon) * (long double)gamma +
           (long double)beta;
}

/* Of the normal distribution. */
static long double below(long double z)
{
    return erfcl(-z / sqrtl(2)) / 2;
}

static long double logistic(long double z)
{
    return z < 0 ? expl(z) / (1 + expl(z)) : 1 / (1 + expl(-z));
}

static long double log_1_exp(long double z)
{
    return fmaxl(z, 0) + log1pl(expl(-fabsl(z)));
}

static const long double pi = 3.141592653589793238462643383279502884L, gelu_cubic = 0.044715L;

/* z * (1 + tanh(u)) / 2 is z * logistic(2u). */
static long double gelu_2u(long double z)
{
    return 2 * sqrtl(2 / pi) * (z + gelu_cubic * z * z * z);
}

long double oracle_activation(const bnorm_epilogue *e, long double z)
{
    const long double alpha = (long double)e->alpha, beta = (long double)e->beta, far = 1e4L;
    if (isnan(z))
        return z;
    if (isinf(z)) {
        const long double there = oracle_activation(e, copysignl(far, z));
        if (fabsl(there) < 1e-3L)
            return 0;
        return fabsl(there) > 100 ? copysignl(z, there) : there;
    }
    switch (e->activation) {
    case BNORM_ACT_IDENTITY:
        return z;
    case BNORM_ACT_RELU:
        return fmaxl(z, 0);
    case BNORM_ACT_CLAMP:
        return fminl(fmaxl(z, alpha), beta);
    case BNORM_ACT_LEAKY_RELU:
        return z > 0 ? z : alpha * z;
    case BNORM_ACT_HARD_SIGMOID:
        return fminl(fmaxl(alpha * z + beta, 0), 1);
    case BNORM_ACT_HARD_SWISH:
        return z * fminl(fmaxl(z + 3, 0), 6) / 6;
    case BNORM_ACT_SIGMOID:
        return logistic(z);
    case BNORM_ACT_SILU:
        return z * logistic(z);
    case BNORM_ACT_TANH:
        return tanhl(z);
    case BNORM_ACT_GELU:
        return z * below(z);
    case BNORM_ACT_GELU_TANH:
        return z * logistic(gelu_2u(z));
    case BNORM_ACT_ELU:
        return z > 0 ? z : alpha * expm1l(z);
    case BNORM_ACT_SOFTPLUS:
        return log_1_exp(z);
    case BNORM_ACT_MISH:
        return z * tanhl(log_1_exp(z));
    }
    return (long double)NAN;
}

long double oracle_slope(const bnorm_epilogue *e, long double z)
{
    const long double alpha = (long double)e->alpha, beta = (long double)e->beta, s = logistic(z), far = 1e4L;
    if (isinf(z))
        return oracle_slope(e, copysignl(far, z));
    switch (e->activation) {
    case BNORM_ACT_IDENTITY:
        return 1;
    case BNORM_ACT_RELU:
        return !(z <= 0);
    case BNORM_ACT_CLAMP:
        return !(z <= alpha) && !(z >= beta);
    case BNORM_ACT_LEAKY_RELU:
        return !(z <= 0) ? 1 : alpha;
    case BNORM_ACT_HARD_SIGMOID:
        return !(alpha * z + beta <= 0) && !(alpha * z + beta >= 1) ? alpha : 0;
    case BNORM_ACT_HARD_SWISH:
        return z <= -3 ? 0 : z >= 3 ? 1 : (2 * z + 3) / 6;
    case BNORM_ACT_SIGMOID:
        return s * logistic(-z);
    case BNORM_ACT_SILU:
        return s * (1 + z * logistic(-z));
    case BNORM_ACT_TANH:
        return 4 * logistic(2 * z) * logistic(-2 * z);
    case BNORM_ACT_GELU:
        return below(z) + z * expl(-z * z / 2) / sqrtl(2 * pi);
    case BNORM_ACT_GELU_TANH:
        return logistic(gelu_2u(z)) *
               (1 + z * logistic(-gelu_2u(z)) * 2 * sqrtl(2 / pi) * (1 + 3 * gelu_cubic * z * z));
    case BNORM_ACT_ELU:
        return z > 0 ? 1 : alpha * expl(z);
    case BNORM_ACT_SOFTPLUS:
        return s;
    case BNORM_ACT_MISH:
        return tanhl(log_1_exp(z)) + z * s * (1 - tanhl(log_1_exp(z)) * tanhl(log_1_exp(z)));
    }
    return (long double)NAN;
}

oracle_gradients oracle_sums(const long double *h, const long double *dy, size_t count)
{
    oracle_gradients g = { 0, 0, 0, 0 };
    long double dy_sq = 0, h_sq = 0, product_sq = 0;
    for (size_t i = 0; i < count; i++) {
        g.dbeta += dy[i];
        g.dgamma += dy[i] * h[i];
        dy_sq += dy[i] * dy[i];
        h_sq += h[i] * h[i];
        product_sq += dy[i] * dy[i] * h[i] * h[i];
    }
    g.dbeta_size = sqrtl(dy_sq);
    g.dgamma_size = sqrtl(product_sq) + fabsl(g.dbeta) / (long double)count * sqrtl(h_sq);
    return g;
}

long double oracle_dx(long double h, long double dy, oracle_gradients sums, size_t count)
{
    return dy - sums.dbeta / (long double)count - h * sums.dgamma / (long double)count;
}
