/* SPDX-License-Identifier: MIT */
#include "oracle.h"

#include <math.h>

oracle_moments oracle_channel(const float *x, size_t batch, size_t channels, size_t points, size_t channel)
{
    long double count = (long double)batch * (long double)points, sum = 0, sum_sq = 0;
    for (size_t n = 0; n < batch; n++)
        for (size_t p = 0; p < points; p++)
            sum += (long double)x[(n * channels + channel) * points + p];
    long double mean = sum / count;
    for (size_t n = 0; n < batch; n++)
        for (size_t p = 0; p < points; p++) {
            long double d = (long double)x[(n * channels + channel) * points + p] - mean;
            sum_sq += d * d;
        }
    oracle_moments m = { mean, sum_sq / count };
    return m;
}

long double oracle_value(float x, oracle_moments m, float epsilon, float gamma, float beta)
{
    return ((long double)x - m.mean) / sqrtl(m.var + (long double)epsilon) * (long double)gamma + (long double)beta;
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
