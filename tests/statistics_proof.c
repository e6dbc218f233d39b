/* SPDX-License-Identifier: MIT */
/* The numbers of the proof in docs/numerics.md, in units of 2^-24. */
#include <math.h>

#include "check.h"
#include "statistics.h"

enum { GROUP = 16, CHUNK = 128, FOLDS = 5, EPOCHS = 8 };

typedef struct square_matrix {
    double m[EPOCHS][EPOCHS];
} square_matrix;

/* How often the j-th term of a lane is rounded on its way to the sum of a chunk of so many super-rows. */
static double roundings(size_t rows, size_t j)
{
    const size_t groups = (rows + GROUP - 1) / GROUP, group = j / GROUP, place = j % GROUP;
    const size_t terms = rows - group * GROUP < GROUP ? rows - group * GROUP : GROUP;
    const size_t in_group = terms - (place ? place : 1), in_chunk = groups - (group ? group : 1);
    return (double)(1 + in_group + in_chunk + FOLDS);
}

/* The largest mean of c² / (alpha - c - 2), and of c², of all lengths of a chunk. */
static void chunk_constants(double alpha, double *beta, double *mean_square)
{
    *beta = *mean_square = 0;
    for (size_t rows = 1; rows <= CHUNK; rows++) {
        double quotients = 0, squares = 0;
        for (size_t j = 0; j < rows; j++) {
            const double c = roundings(rows, j);
            quotients += c * c / (alpha - c - 2);
            squares += c * c;
        }
        *beta = fmax(*beta, quotients / (double)rows);
        *mean_square = fmax(*mean_square, squares / (double)rows);
    }
}

/* Adds weight * n * f fT, in coordinates in which m2 is the sum of squares; n are the lengths of epochs. */
static void add_square(square_matrix *a, const double *f, const double *n, double weight)
{
    for (int i = 0; i < EPOCHS; i++)
        for (int k = 0; k < EPOCHS; k++)
            a->m[i][k] += weight * f[i] * f[k] / sqrt(n[i] * n[k]);
}

/* No eigenvalue is larger than the norm of a power, its root. */
static double largest_eigenvalue(square_matrix a)
{
    double logarithm = 0, power = 1;
    for (int squaring = 0; squaring < 10; squaring++, power *= 2) {
        square_matrix product = { { { 0 } } };
        double norm = 0;
        for (int i = 0; i < EPOCHS * EPOCHS; i++)
            norm += (&a.m[0][0])[i] * (&a.m[0][0])[i];
        norm = sqrt(norm);
        logarithm += log(norm) / power;
        for (int i = 0; i < EPOCHS; i++)
            for (int j = 0; j < EPOCHS; j++)
                for (int k = 0; k < EPOCHS; k++)
                    product.m[i][k] += a.m[i][j] / norm * (a.m[j][k] / norm);
        a = product;
    }
    return exp(logarithm + log(8.0) / power);
}

/* What the error of m2 is at most, relative to it; clipped: bits of the epochs whose m2' was negative. */
static double worst_quotient(const double *n, double alpha, double beta, double mean_square, unsigned clipped)
{
    const double gamma = 10; /* 2ab <= gamma * a² + b² / gamma */
    square_matrix a = { { { 0 } } };
    double before = 0;
    for (int e = 0; e < EPOCHS; before += n[e++]) {
        double own[EPOCHS] = { 0 }, pivot[EPOCHS] = { 0 }, apart[EPOCHS];
        own[e] = 1;
        pivot[0] = e == 0;
        for (int k = 0; k < e; k++)
            pivot[k] = n[k] / before;
        for (int k = 0; k < EPOCHS; k++)
            apart[k] = own[k] - pivot[k];
        if (clipped >> e & 1) {
            add_square(&a, own, n, gamma * n[e]);
            add_square(&a, apart, n, mean_square / gamma * n[e]);
        } else {
            add_square(&a, apart, n, alpha * n[e]);
            add_square(&a, pivot, n, beta * n[e]);
        }
    }
    return fmax(largest_eigenvalue(a), alpha);
}

/* Each epoch is as long as all before, or nearly; `code` has for each whether a bit more, and the last may be shorter.
 */
static void epoch_lengths(unsigned code, double last, double *n)
{
    double before = n[0] = 1, uneven = 0.1;
    for (int e = 1; e < EPOCHS; e++, uneven /= 2, code /= 3) {
        n[e] = before * (1 + ((double)(code % 3) - 1) * uneven) * (e + 1 < EPOCHS ? 1 : last);
        before += n[e];
    }
}

void check_proof(void)
{
    static const double lasts[] = { 1, 0.5, 0.25, 0.05 };
    enum { CODES = 2187 };
    const double alpha = 53;
    check_case("the proof of docs/numerics.md");
    double beta, mean_square, n[EPOCHS], exact = 0, rounded = 0, clipped = 0;
    chunk_constants(alpha, &beta, &mean_square);
    /* A pivot that is off by 1/64 of d. */
    const double most = 64.0 / 63 * 64 / 63, more_alpha = (alpha + beta * 65 / 4096) * most, more_beta = beta * 65 / 64;
    for (unsigned code = 0; code < CODES; code++)
        for (size_t l = 0; l < COUNT_OF(lasts); l++) {
            epoch_lengths(code, lasts[l], n);
            exact = fmax(exact, worst_quotient(n, alpha, beta, mean_square, 0));
            rounded = fmax(rounded, worst_quotient(n, more_alpha, more_beta, mean_square, 0));
        }
    for (unsigned some = 1; some < 1u << EPOCHS; some++) {
        epoch_lengths(some % 2 ? CODES - 1 : CODES / 2, 1, n);
        clipped = fmax(clipped, worst_quotient(n, more_alpha, more_beta, mean_square * most, some));
    }
    check_note("proof: c %.2f in root mean square, beta %.2f, m2 off by %.1f, with rounded pivots %.1f, clipped %.1f",
               sqrt(mean_square), beta, exact, rounded, clipped);
    check(sqrt(mean_square) <= 19.9 && beta <= 13.7, "terms are rounded more often");
    check(fmax(rounded, clipped) * 0x1p-24 <= (double)proven, "the bound of the variance is not proven");
    check(sqrt(mean_square * 2.1 * most) * 0x1p-24 <= (double)proven_mean, "the bound of the mean is not proven");
}
