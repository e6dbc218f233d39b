/* SPDX-License-Identifier: MIT */
/* A call of any function with any arguments, good or bad, in memory that is known to the byte. */
#ifndef BNORM_TESTS_FUZZ_CALL_H
#define BNORM_TESTS_FUZZ_CALL_H

#include "../buffer.h"
#include "bnorm/bnorm.h"
#include "cursor.h"
#include "dispatch/machine.h"

typedef enum function {
    CALL_INFER,
    CALL_TRAIN,
    CALL_BACKWARD,
    CALL_FOLD,
    CALL_COLLECT,
    CALL_MERGE,
    CALL_FINISH,
    CALL_APPLY,
    CALL_REDUCE,
    CALL_BACKWARD_APPLY,
    FUNCTIONS
} function;

/* Every argument that is a pointer to memory of the caller's. */
typedef enum slot {
    X, /* also weights */
    DY,
    Y, /* also dx, and folded weights */
    RESIDUAL,
    DRESIDUAL,
    MASK,
    WORKSPACE,
    MEAN,
    VAR,
    GAMMA,
    BETA,
    LOW,
    RSTD,
    RUNNING_MEAN,
    RUNNING_VAR,
    SAVED_MEAN,
    SAVED_LOW,
    SAVED_RSTD,
    DGAMMA,
    DBETA,
    BIAS,
    FOLDED_BIAS,
    MEANS, /* doubles, as those that follow */
    M2,
    MORE_MEANS,
    MORE_M2,
    SUMS,
    SLOTS
} slot;

/* A struct as a program of a later version may have it: with more behind its end. */
#define GROWN(type) \
    struct { \
        type is; \
        unsigned char more[64]; \
    }

/* Memory of which arguments are parts. */
typedef struct piece {
    unsigned char *data, *before; /* and its bytes before a call */
    size_t bytes;
} piece;

typedef struct call {
    function function;
    GROWN(bnorm_shape) shape;
    GROWN(bnorm_epilogue) epilogue;
    GROWN(bnorm_infer_params) infer;
    GROWN(bnorm_train_params) train;
    GROWN(bnorm_backward_params) backward;
    bnorm_executor executor;
    bool no_shape, no_params, no_epilogue, no_executor;
    uint64_t count, more_count;
    size_t workspace_size;
    void *at[SLOTS];
    bool huge; /* some of its memory does not exist */
    flush side; /* of the blocks */
    piece blocks[SLOTS];
    size_t block_count;
} call;

/* How a function uses an argument. */
typedef enum use { UNUSED, OPTIONAL_INPUT, INPUT, OPTIONAL_OUTPUT, OUTPUT } use;

use call_use(const call *c, slot s);
static inline bool is_written(use u)
{
    return u >= OPTIONAL_OUTPUT;
}

/* An axis of more than one element. */
typedef struct tensor_axis {
    size_t size;
    long double stride; /* larger than any size where it does not fit */
} tensor_axis;

/* The layout of a tensor as its description says; all of it in numbers that do not overflow. */
typedef struct span {
    tensor_axis axes[4]; /* widest first */
    int count;
    long double elements; /* from the first to one past the last; 0 for an empty tensor */
    bnorm_status status; /* of the description */
} span;

span span_of(const bnorm_shape *shape, const bnorm_layout *layout);
static inline bool is_empty(const bnorm_shape *s)
{
    return s->batch == 0 || s->points == 0;
}
/* The layout of a slot that is a tensor, else NULL. */
const bnorm_layout *layout_of_slot(const call *c, slot s);
/* The bytes that an argument covers, and of one of its elements. */
long double bytes_of(const call *c, slot s);
size_t unit_of(const call *c, slot s);
/* The bytes of all elements, from the first byte of a tensor on. */
void mark_elements(const call *c, slot s, unsigned char *map);

/* Reads a call; what memory it needs is the owner's. */
void take_call(cursor *bytes, call *c, buffers *owner);
/* Writes the pointers of a call into its structs; what is not used leads nowhere. */
void point_structs(call *c);
/* Makes it: by the public function, or with a machine by the one behind it. */
bnorm_status make_call(const call *c, const bnorm_machine *m);
/* What the function that only checks answers; -1: there is none. */
int make_check(const call *c);

/* Whether bnorm_fold() has given what it should. */
void check_fold(const call *c);

/* Statuses as bits: one of `must` is what the call answers, if there are any; `may` are what it might find instead. */
typedef struct verdict {
    uint64_t must, may;
} verdict;

static inline uint64_t status_bit(bnorm_status status)
{
    return (uint64_t)1 << status;
}

/* What bnorm.h says of such arguments, decided by other means than the library's. */
verdict judge(const call *c);
/* The same of the shape alone. */
verdict judge_shape(const call *c);

#endif
