/* SPDX-License-Identifier: MIT */
/* What backward in one call and in steps share (gradients.c). */
#ifndef BNORM_DISPATCH_BACKWARD_H
#define BNORM_DISPATCH_BACKWARD_H

#include "plan.h"

/* A call's arguments, checked; first in what each call keeps as the context of its job. */
typedef struct bnorm_backward_args {
    bnorm_backward_params p;
    bnorm_fusion f;
} bnorm_backward_args;

static inline bool bnorm_is_frozen(const bnorm_backward_params *p)
{
    return p->statistics == BNORM_STATISTICS_FROZEN;
}

static inline bool bnorm_is_activated(const bnorm_backward_args *c)
{
    return c->f.activation != BNORM_ACT_IDENTITY;
}

/* Whether dgamma, dbeta or dx follow from sums. */
bool bnorm_backward_needs_sums(const bnorm_backward_params *params, const void *dx);
/* Whether dx and dresidual follow from x. */
bool bnorm_gradient_needs_x(const bnorm_backward_args *args, const void *dx);
bnorm_map bnorm_backward_map(const bnorm_backward_args *args, const void *dx);
const bnorm_fusion *bnorm_backward_fusion(const bnorm_backward_args *args);
bnorm_source bnorm_backward_source(const bnorm_machine *machine, const bnorm_backward_args *args, const void *x,
                                   const void *dy);

/* Reads and checks what all calls begin with. */
bnorm_status bnorm_read_backward(const bnorm_machine *machine, const bnorm_shape *shape,
                                 const bnorm_backward_params *params, const bnorm_executor *executor,
                                 bnorm_geometry *geometry, bnorm_backward_args *args);
bnorm_status bnorm_check_gradient_tensors(const bnorm_geometry *geometry, const bnorm_fusion *fusion, const void *x,
                                          bool x_needed, const void *dy, const void *dx);
bnorm_status bnorm_check_backward_memory(const bnorm_geometry *geometry, const bnorm_backward_args *args, const void *x,
                                         const void *dy, const void *dx, bnorm_range sums, bnorm_range workspace);

/* Stores the coefficients that the forward pass computed y with, of `channels` channels from `first` on. */
void bnorm_forward_coefficients(const bnorm_kernels *kernels, const bnorm_backward_params *params, size_t first,
                                size_t channels, float *const k[BNORM_COEFFICIENTS]);
/* Is `prepare` of a bnorm_reduction whose context begins with bnorm_backward_args. */
void bnorm_prepare_backward(const bnorm_reduction *job, size_t channel, size_t lanes, const bnorm_scratch *scratch);
/* Stores dgamma and dbeta of some channels, whose sums over `count` values begin the arrays; and those of no values. */
void bnorm_store_gradients(const bnorm_backward_params *params, double count, size_t first, size_t channels,
                           const double *const *sums);
void bnorm_store_no_gradients(const bnorm_backward_params *params, size_t channels);

#endif
