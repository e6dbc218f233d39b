/* SPDX-License-Identifier: MIT */
/* Every kind of bad argument gets its status, and nothing is written; what is odd but legal is accepted. */
#include "errors.h"

#include <string.h>

#include "check.h"
#include "executors.h"

float x[ELEMENTS], dy[ELEMENTS], parameters[4][CHANNELS];
double moments[3 * CHANNELS];
outputs out;
static outputs before;

call good_call(void)
{
    call c = { .shape = bnorm_blocked(BATCH, CHANNELS, POINTS, BLOCK), .x = x, .y = out.y };
    c.infer = (bnorm_infer_params){ .struct_size = sizeof(c.infer),
                                    .mean = parameters[0],
                                    .var = parameters[1],
                                    .gamma = parameters[2],
                                    .beta = parameters[3],
                                    .epsilon = 1e-5f };
    c.train = (bnorm_train_params){ .struct_size = sizeof(c.train),
                                    .gamma = parameters[2],
                                    .beta = parameters[3],
                                    .epsilon = 1e-5f,
                                    .momentum = 0.1f,
                                    .running_mean = out.running_mean,
                                    .running_var = out.running_var,
                                    .saved_mean = out.saved_mean,
                                    .saved_mean_low = out.saved_mean_low,
                                    .saved_rstd = out.saved_rstd };
    c.backward = (bnorm_backward_params){ .struct_size = sizeof(c.backward),
                                          .gamma = parameters[2],
                                          .beta = parameters[3],
                                          .mean = parameters[0],
                                          .mean_low = parameters[3],
                                          .rstd = parameters[1],
                                          .dgamma = out.dgamma,
                                          .dbeta = out.dbeta };
    c.dy = dy;
    c.mean = out.mean;
    c.m2 = out.m2;
    c.sums = out.sums;
    c.count = BATCH * POINTS;
    c.workspace = out.workspace;
    c.workspace_size = sizeof(out.workspace);
    c.executor = executor_backwards(1);
    return c;
}

/* What a call answers must be what its check answered, which wrote nothing. */
static bnorm_status as_checked(bnorm_status checked, bnorm_status status)
{
    check(checked == status, "the call answers another status than its check");
    return status;
}

bool is_untouched(void)
{
    return memcmp(&out, &before, sizeof(out)) == 0;
}

bnorm_status infer(const call *c)
{
    const bnorm_shape *shape = c->no_shape ? NULL : &c->shape;
    const bnorm_infer_params *p = c->no_params ? NULL : &c->infer;
    const bnorm_status checked = bnorm_infer_check(shape, p, c->x, c->y, &c->executor);
    check(is_untouched(), "the check wrote something");
    return as_checked(checked, bnorm_infer(shape, p, c->x, c->y, &c->executor));
}

bnorm_status train(const call *c)
{
    const bnorm_shape *shape = c->no_shape ? NULL : &c->shape;
    const bnorm_train_params *p = c->no_params ? NULL : &c->train;
    const bnorm_status checked = bnorm_train_check(shape, p, c->x, c->y, c->workspace, c->workspace_size, &c->executor);
    check(is_untouched(), "the check wrote something");
    return as_checked(checked, bnorm_train(shape, p, c->x, c->y, c->workspace, c->workspace_size, &c->executor));
}

bnorm_status fold(const call *c)
{
    return bnorm_fold(c->no_shape ? NULL : &c->shape, c->no_params ? NULL : &c->infer, c->x, c->dy, c->y,
                      c->train.running_mean);
}

bnorm_status backward(const call *c)
{
    const bnorm_shape *shape = c->no_shape ? NULL : &c->shape;
    const bnorm_backward_params *p = c->no_params ? NULL : &c->backward;
    const bnorm_status checked =
        bnorm_backward_check(shape, p, c->x, c->dy, c->y, c->workspace, c->workspace_size, &c->executor);
    check(is_untouched(), "the check wrote something");
    return as_checked(checked,
                      bnorm_backward(shape, p, c->x, c->dy, c->y, c->workspace, c->workspace_size, &c->executor));
}

bnorm_status collect(const call *c)
{
    return bnorm_train_collect(&c->shape, c->x, c->mean, c->m2, c->workspace, c->workspace_size, &c->executor);
}

bnorm_status merge(const call *c)
{
    return bnorm_train_merge(c->shape.channels, c->count, c->mean, c->m2, 1, moments, moments + CHANNELS);
}

bnorm_status finish(const call *c)
{
    return bnorm_train_finish(c->shape.channels, c->count, moments, moments + CHANNELS,
                              c->no_params ? NULL : &c->train);
}

bnorm_status apply(const call *c)
{
    return bnorm_train_apply(&c->shape, c->no_params ? NULL : &c->train, c->x, c->y, &c->executor);
}

bnorm_status reduce(const call *c)
{
    return bnorm_backward_reduce(&c->shape, c->no_params ? NULL : &c->backward, c->x, c->dy, c->sums, c->workspace,
                                 c->workspace_size, &c->executor);
}

bnorm_status backward_apply(const call *c)
{
    return bnorm_backward_apply(&c->shape, c->no_params ? NULL : &c->backward, c->count, c->sums ? moments : NULL, c->x,
                                c->dy, c->y, &c->executor);
}

void reset(void)
{
    memset(&out, 0x5a, sizeof(out));
    memcpy(&before, &out, sizeof(out));
}

void expect(bnorm_status got, bnorm_status expected, bool untouched, const char *what)
{
    check_context("%s: %s", what, bnorm_status_string(got));
    check(got == expected, bnorm_status_string(expected));
    if (untouched)
        check(is_untouched(), "something was written");
    reset();
}

void *off_by_one(void *p)
{
    return (char *)p + 1;
}

int main(int argc, char **argv)
{
    check_start(argc, argv);
    for (int i = 0; i < CHANNELS; i++)
        parameters[0][i] = parameters[1][i] = parameters[2][i] = parameters[3][i] = 1.0f;
    for (int i = 0; i < ELEMENTS; i++)
        x[i] = dy[i] = (float)i;
    reset();
    INFER(BNORM_OK, nothing());
    TRAIN(BNORM_OK, nothing());
    BACKWARD(BNORM_OK, nothing());
    check_tensors();
    check_gradients();
    check_limits();
    return check_finish();
}
