/* SPDX-License-Identifier: MIT */
/* What backward and the calls for single steps ask, and what they make of nothing; and folding. */
#include <string.h>

#include "check.h"
#include "errors.h"

/* What is particular to gradients. */
static void check_backward(void)
{
    const bnorm_epilogue relu = { .struct_size = sizeof(relu), .activation = BNORM_ACT_RELU };
    BACKWARD(BNORM_ERROR_STATISTICS, c.backward.statistics = (bnorm_statistics)2);
    BACKWARD(BNORM_ERROR_HINT, c.backward.hint = (bnorm_hint)3);
    BACKWARD(BNORM_ERROR_EPSILON, c.backward.statistics = BNORM_STATISTICS_FROZEN; c.backward.var = parameters[1];
             c.backward.epsilon = -1);
    BACKWARD(BNORM_ERROR_NULL_POINTER, c.dy = NULL);
    BACKWARD(BNORM_ERROR_NULL_POINTER, c.backward.mean = NULL);
    BACKWARD(BNORM_ERROR_NULL_POINTER, c.backward.rstd = NULL);
    BACKWARD(BNORM_ERROR_NULL_POINTER, c.backward.statistics = BNORM_STATISTICS_FROZEN);
    BACKWARD(BNORM_ERROR_NULL_POINTER, c.workspace = NULL);
    BACKWARD(BNORM_ERROR_WORKSPACE_SIZE, c.workspace_size = 1);
    BACKWARD(BNORM_ERROR_ALIGNMENT, c.dy = off_by_one(dy));
    BACKWARD(BNORM_ERROR_ALIGNMENT, c.y = NULL; c.dy = off_by_one(dy));
    BACKWARD(BNORM_ERROR_ALIGNMENT, c.backward.dbeta = off_by_one(out.dbeta));
    BACKWARD(BNORM_ERROR_OVERLAP, c.backward.dgamma = out.dbeta + 1);
    BACKWARD(BNORM_ERROR_OVERLAP, c.backward.dgamma = out.y);
    BACKWARD(BNORM_ERROR_OVERLAP, c.backward.dgamma = dy);
    BACKWARD(BNORM_ERROR_OVERLAP, c.backward.gamma = out.dgamma);
    BACKWARD(BNORM_ERROR_OVERLAP, c.backward.rstd = out.dgamma);
    BACKWARD(BNORM_ERROR_OVERLAP, c.workspace = dy);
    BACKWARD(BNORM_OK, c.backward.gamma = c.backward.beta = c.backward.mean_low = NULL);
    BACKWARD(BNORM_OK, c.y = NULL);
    BACKWARD(BNORM_OK, c.backward.dgamma = c.backward.dbeta = NULL);
    BACKWARD(BNORM_OK, c.y = NULL; c.backward.dgamma = NULL; c.x = NULL);
    BACKWARD(BNORM_ERROR_NULL_POINTER, c.y = NULL; c.x = NULL);
    BACKWARD(BNORM_ERROR_NULL_POINTER, c.backward.dgamma = NULL; c.x = NULL);
    /* Frozen, neither x nor a workspace is needed for dx alone. */
    BACKWARD(BNORM_OK, c.backward.statistics = BNORM_STATISTICS_FROZEN; c.backward.var = parameters[1]; c.x = NULL;
             c.backward.dgamma = c.backward.dbeta = NULL; c.workspace = NULL; c.workspace_size = 0);
    BACKWARD(BNORM_OK, c.backward.statistics = BNORM_STATISTICS_FROZEN; c.backward.var = parameters[1]; c.x = NULL;
             c.backward.dgamma = NULL);
    BACKWARD(BNORM_ERROR_NULL_POINTER, c.backward.statistics = BNORM_STATISTICS_FROZEN; c.backward.var = parameters[1];
             c.x = NULL; c.backward.dgamma = NULL; c.backward.epilogue = &relu);
    check_case("backward: nothing is asked for");
    call c = good_call();
    c.y = NULL;
    c.backward.dgamma = c.backward.dbeta = NULL;
    expect(backward(&c), BNORM_OK, true, "BNORM_OK");
}

static void check_steps(void)
{
    CALL(collect, BNORM_OK, nothing());
    CALL(collect, BNORM_ERROR_NULL_POINTER, c.x = NULL);
    CALL(collect, BNORM_ERROR_NULL_POINTER, c.mean = NULL);
    CALL(collect, BNORM_ERROR_NULL_POINTER, c.m2 = NULL);
    CALL(collect, BNORM_ERROR_NULL_POINTER, c.workspace = NULL);
    CALL(collect, BNORM_ERROR_WORKSPACE_SIZE, c.workspace_size = 1);
    CALL(collect, BNORM_ERROR_ALIGNMENT, c.x = off_by_one(x));
    CALL(collect, BNORM_ERROR_ALIGNMENT, c.mean = off_by_one(out.mean));
    CALL(collect, BNORM_ERROR_OVERLAP, c.mean = out.m2 + 1);
    CALL(collect, BNORM_ERROR_OVERLAP, c.x = out.m2);
    CALL(collect, BNORM_ERROR_SHAPE, c.shape.channels = 0);
    CALL(collect, BNORM_ERROR_EXECUTOR, c.executor.width = 0);
    CALL(merge, BNORM_OK, nothing());
    CALL(merge, BNORM_OK, c.count = 0);
    CALL(merge, BNORM_ERROR_NULL_POINTER, c.mean = NULL);
    CALL(merge, BNORM_ERROR_NULL_POINTER, c.m2 = NULL);
    CALL(merge, BNORM_ERROR_ALIGNMENT, c.m2 = off_by_one(out.m2));
    CALL(merge, BNORM_ERROR_OVERLAP, c.mean = out.m2 + 1);
    CALL(merge, BNORM_ERROR_OVERLAP, c.mean = moments);
    CALL(merge, BNORM_ERROR_SHAPE, c.shape.channels = 0);
    CALL(merge, BNORM_ERROR_SHAPE, c.shape.channels = SIZE_MAX);
    CALL(finish, BNORM_OK, nothing());
    CALL(finish, BNORM_ERROR_NULL_POINTER, c.no_params = true);
    CALL(finish, BNORM_ERROR_NULL_POINTER, c.train.saved_mean = NULL);
    CALL(finish, BNORM_ERROR_NULL_POINTER, c.train.saved_mean_low = NULL);
    CALL(finish, BNORM_ERROR_NULL_POINTER, c.train.saved_rstd = NULL);
    CALL(finish, BNORM_ERROR_MOMENTUM, c.train.momentum = 2);
    CALL(finish, BNORM_ERROR_EPSILON, c.train.epsilon = -1);
    CALL(finish, BNORM_ERROR_OVERLAP, c.train.saved_mean = out.saved_rstd);
    CALL(finish, BNORM_ERROR_SINGLE_VALUE, c.count = 1);
    CALL(finish, BNORM_OK, c.count = 1; c.train.running_variance = BNORM_VARIANCE_BIASED);
    CALL(finish, BNORM_ERROR_SHAPE, c.shape.channels = 0);
    CALL(apply, BNORM_OK, nothing());
    CALL(apply, BNORM_OK, c.x = c.y);
    CALL(apply, BNORM_ERROR_NULL_POINTER, c.x = NULL);
    CALL(apply, BNORM_ERROR_NULL_POINTER, c.train.saved_mean = NULL);
    CALL(apply, BNORM_ERROR_NULL_POINTER, c.train.saved_mean_low = NULL);
    CALL(apply, BNORM_ERROR_NULL_POINTER, c.train.saved_rstd = NULL);
    CALL(apply, BNORM_ERROR_OVERLAP, c.train.saved_rstd = out.y);
    CALL(apply, BNORM_ERROR_OVERLAP, c.x = out.y + 1);
    CALL(apply, BNORM_ERROR_HINT, c.train.hint = (bnorm_hint)7);
    CALL(reduce, BNORM_OK, nothing());
    CALL(reduce, BNORM_ERROR_NULL_POINTER, c.x = NULL);
    CALL(reduce, BNORM_ERROR_NULL_POINTER, c.sums = NULL);
    CALL(reduce, BNORM_ERROR_NULL_POINTER, c.backward.mean = NULL);
    CALL(reduce, BNORM_ERROR_OVERLAP, c.x = out.sums);
    CALL(reduce, BNORM_ERROR_WORKSPACE_SIZE, c.workspace_size = 1);
    CALL(backward_apply, BNORM_OK, nothing());
    CALL(backward_apply, BNORM_OK, c.y = NULL);
    CALL(backward_apply, BNORM_OK, c.y = NULL; c.x = c.dy = NULL);
    CALL(backward_apply, BNORM_OK, c.shape.batch = 0);
    CALL(backward_apply, BNORM_ERROR_NULL_POINTER, c.sums = NULL);
    CALL(backward_apply, BNORM_OK, c.sums = NULL; c.backward.dgamma = c.backward.dbeta = NULL; c.x = NULL; c.count = 0;
         c.backward.statistics = BNORM_STATISTICS_FROZEN; c.backward.var = parameters[1]);
    CALL(backward_apply, BNORM_ERROR_NULL_POINTER, c.dy = NULL);
    CALL(backward_apply, BNORM_ERROR_SHAPE, c.count = BATCH * POINTS - 1);
    CALL(backward_apply, BNORM_ERROR_OVERLAP, c.backward.dgamma = out.y);
    call c = good_call();
    check_case("merge: moments are missing");
    for (int i = 0; i < 2; i++)
        expect(bnorm_train_merge(CHANNELS, 1, out.mean, out.m2, 1, i ? moments : NULL, i ? NULL : moments),
               BNORM_ERROR_NULL_POINTER, true, "merge");
    check_case("finish: moments are missing");
    for (int i = 0; i < 2; i++)
        expect(bnorm_train_finish(CHANNELS, 2, i ? moments : NULL, i ? NULL : moments, &c.train),
               BNORM_ERROR_NULL_POINTER, true, "finish");
    check_case("finish: nothing was counted");
    c.count = 0;
    expect(finish(&c), BNORM_OK, true, "BNORM_OK");
}

static void check_folding(void)
{
    static const bnorm_epilogue relu = { .struct_size = sizeof(relu), .activation = BNORM_ACT_RELU };
    CALL(fold, BNORM_OK, nothing());
    CALL(fold, BNORM_OK, c.dy = NULL);
    CALL(fold, BNORM_OK, c.dy = c.train.running_mean);
    CALL(fold, BNORM_OK, c.x = c.y);
    CALL(fold, BNORM_OK, c.infer.gamma = c.infer.beta = NULL);
    CALL(fold, BNORM_ERROR_NULL_POINTER, c.no_shape = true);
    CALL(fold, BNORM_ERROR_NULL_POINTER, c.no_params = true);
    CALL(fold, BNORM_ERROR_NULL_POINTER, c.x = NULL);
    CALL(fold, BNORM_ERROR_NULL_POINTER, c.y = NULL);
    CALL(fold, BNORM_ERROR_NULL_POINTER, c.infer.mean = NULL);
    CALL(fold, BNORM_ERROR_NULL_POINTER, c.infer.var = NULL);
    CALL(fold, BNORM_ERROR_NULL_POINTER, c.train.running_mean = NULL);
    CALL(fold, BNORM_ERROR_STRUCT_SIZE, c.infer.struct_size = 0);
    CALL(fold, BNORM_ERROR_SHAPE, c.shape.channels = 0);
    CALL(fold, BNORM_ERROR_EPSILON, c.infer.epsilon = -1.0f);
    CALL(fold, BNORM_ERROR_UNSUPPORTED, c.infer.epilogue = &relu);
    CALL(fold, BNORM_ERROR_UNSUPPORTED, c.shape.out.dtype = (bnorm_dtype)3);
    CALL(fold, BNORM_ERROR_ALIGNMENT, c.x = off_by_one(x));
    CALL(fold, BNORM_ERROR_ALIGNMENT, c.dy = off_by_one(dy));
    CALL(fold, BNORM_ERROR_OVERLAP, c.x = out.y + 1);
    CALL(fold, BNORM_ERROR_OVERLAP, c.dy = c.train.running_mean + 1);
    CALL(fold, BNORM_ERROR_OVERLAP, c.train.running_mean = out.y);
    CALL(fold, BNORM_ERROR_OVERLAP, c.infer.gamma = out.y + 1);
    CALL(fold, BNORM_ERROR_OVERLAP, c.infer.var = c.train.running_mean);
}

/* Of nothing, sums are 0. */
static void check_empty_gradients(void)
{
    static const float zeros[CHANNELS];
    static const double no_sums[3 * CHANNELS];
    check_case("backward: gradients and sums of nothing");
    call c = good_call();
    c.shape.batch = 0;
    c.x = c.dy = c.y = c.workspace = NULL;
    c.workspace_size = 0;
    check(backward(&c) == BNORM_OK && memcmp(out.dgamma, zeros, sizeof(zeros)) == 0 &&
              memcmp(out.dbeta, zeros, sizeof(zeros)) == 0,
          "gradients of nothing are not 0");
    check(reduce(&c) == BNORM_OK && memcmp(out.sums, no_sums, sizeof(no_sums)) == 0, "sums of nothing are not 0");
    check(collect(&c) == BNORM_OK && memcmp(out.mean, no_sums, sizeof(out.mean)) == 0 &&
              memcmp(out.m2, no_sums, sizeof(out.m2)) == 0,
          "moments of nothing are not 0");
    reset();
    c.backward.accumulate = 1;
    expect(backward(&c), BNORM_OK, true, "backward: nothing is added");
    c.count = 0;
    expect(backward_apply(&c), BNORM_OK, true, "backward_apply: nothing is added");
}

/* An empty tensor is no error, and changes nothing. */
static void check_empty(void)
{
    check_case("infer and train: empty");
    call c = good_call();
    for (int i = 0; i < 2; i++) {
        c.shape = i ? bnorm_nchw(0, CHANNELS, POINTS) : bnorm_nhwc(BATCH, CHANNELS, 0);
        c.x = c.y = c.workspace = NULL;
        c.workspace_size = 0;
        expect(infer(&c), BNORM_OK, true, "infer: empty");
        check(is_untouched(), "something was written");
        expect(train(&c), BNORM_OK, true, "train: empty");
        check(is_untouched(), "something was written");
    }
}

void check_gradients(void)
{
    check_backward();
    check_steps();
    check_folding();
    check_empty();
    check_empty_gradients();
}
