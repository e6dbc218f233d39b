/* SPDX-License-Identifier: MIT */
/* A way of calling beside the plain one: nothing but the bits of portable C, on one thread, may come of it. */
#include "calls.h"
#include "check.h"
#include "element.h"

void check_same(const job *j, const result *expected, const way *w)
{
    result r = perform(j, w);
    if (!(w->unwanted & NO_DX))
        check(same_bits(r.y, expected->y, job_elements(j)), "y or dx has other bits than portable C");
    if (has_residual(j->op) && is_backward(j->op) && !(w->unwanted & NO_DRESIDUAL))
        check(same_bits(r.dresidual, expected->dresidual, job_elements(j)), "dresidual has other bits than portable C");
    for (int i = 0; (is_training(j->op) || is_backward(j->op)) && i < STATISTICS; i++)
        if (!(w->unwanted & (i == 0 ? NO_DGAMMA : i == 1 ? NO_DBETA : 0)))
            check(same_bits(r.statistics[i], expected->statistics[i], j->shape.channels),
                  "statistics or gradients have other bits than portable C");
    give_back(&r.taken);
}

void way_context(const job *j, const way *w, const char *name)
{
    check_context(
        "%s%s %s to %s without %d %s %s batch %zu channels %zu points %zu block %zu%s: %s, in %d out %d, width %zu, "
        "caches of %zu and %zu, hint %d%s",
        operation_name(j->op), w->steps ? " in steps" : "", type_name(j->shape.in.dtype), type_name(j->shape.out.dtype),
        w->unwanted, name, j->with_parameters ? "gamma" : "plain", j->shape.batch, j->shape.channels, j->shape.points,
        j->shape.block,
        w->mask       ? " with a mask"
        : w->in_place ? " in place"
        : w->in_dy    ? " in dy"
                      : "",
        w->kernels->name, (int)w->in, (int)w->out, w->executor ? w->executor->width : 1, w->tuning->core_cache,
        w->tuning->shared_cache, (int)w->hint, w->side == FLUSH_END ? ", at the end" : ", at the start");
}
