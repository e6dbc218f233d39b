/* SPDX-License-Identifier: MIT */
/*
 * bnorm-mpi: processes that share a batch get what one process gets of all of it, the same bits in each and on every
 * ISA, and the failure of one reaches all. `mpi abort` and `mpi shape` end in ways that must end all processes.
 */
#include "bnorm/mpi.h"

#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "element.h"
#include "inputs.h"
#include "kernels/element.h"
#include "tensor.h"

enum { BATCH = 11, CHANNELS = 21, POINTS = 30, ELEMENTS = BATCH * CHANNELS * POINTS };

static int rank, processes;

/* ---- One process with the whole batch ---- */

/* What is kept of a channel, in the order of digests. */
typedef struct kept {
    float running_mean[CHANNELS], running_var[CHANNELS];
    float saved_mean[CHANNELS], saved_mean_low[CHANNELS], saved_rstd[CHANNELS];
    float dgamma[CHANNELS], dbeta[CHANNELS];
} kept;

typedef struct data {
    float x[ELEMENTS], dy[ELEMENTS], gamma[CHANNELS], beta[CHANNELS];
} data;

typedef struct outcome {
    float y[ELEMENTS], dx[ELEMENTS];
    kept k;
} outcome;

static const bnorm_epilogue relu = { .struct_size = sizeof(relu), .activation = BNORM_ACT_RELU };

static bnorm_train_params train_params(const data *d, kept *k, const bnorm_epilogue *epilogue)
{
    return (bnorm_train_params){ .struct_size = sizeof(bnorm_train_params),
                                 .gamma = d->gamma,
                                 .beta = d->beta,
                                 .epsilon = 1e-5f,
                                 .momentum = 1.0f,
                                 .running_mean = k->running_mean,
                                 .running_var = k->running_var,
                                 .saved_mean = k->saved_mean,
                                 .saved_mean_low = k->saved_mean_low,
                                 .saved_rstd = k->saved_rstd,
                                 .epilogue = epilogue };
}

static bnorm_backward_params backward_params(const data *d, kept *k, const bnorm_epilogue *epilogue)
{
    return (bnorm_backward_params){ .struct_size = sizeof(bnorm_backward_params),
                                    .epilogue = epilogue,
                                    .gamma = d->gamma,
                                    .beta = d->beta,
                                    .mean = k->saved_mean,
                                    .mean_low = k->saved_mean_low,
                                    .rstd = k->saved_rstd,
                                    .dgamma = k->dgamma,
                                    .dbeta = k->dbeta };
}

static void alone(const data *d, const bnorm_epilogue *epilogue, outcome *o)
{
    static char workspace[1 << 18];
    const bnorm_shape shape = bnorm_nchw(BATCH, CHANNELS, POINTS);
    const bnorm_train_params t = train_params(d, &o->k, epilogue);
    const bnorm_backward_params b = backward_params(d, &o->k, epilogue);
    check(bnorm_train(&shape, &t, d->x, o->y, workspace, sizeof(workspace), NULL) == BNORM_OK, "training alone failed");
    check(bnorm_backward(&shape, &b, d->x, d->dy, o->dx, workspace, sizeof(workspace), NULL) == BNORM_OK,
          "backward alone failed");
}

/* ---- Shares ---- */

/* How a batch is shared: each process draws the same. */
typedef struct share {
    size_t first, images;
} share;

/* With more than two processes, the second one has nothing; with seven, more have. */
static share draw_share(random_state *r)
{
    enum { MOST = 64 };
    size_t owner_count[MOST] = { 0 }, first = 0;
    for (size_t image = 0; image < BATCH; image++) {
        size_t owner = random_below(r, (size_t)processes);
        owner_count[processes > 2 && owner == 1 ? 0 : owner]++;
    }
    for (int p = 0; p < rank; p++)
        first += owner_count[p];
    return (share){ first, owner_count[rank] };
}

/* How a process calls. */
typedef struct way {
    size_t block;
    bnorm_dtype in, out;
    bool in_place;
    const bnorm_epilogue *epilogue;
} way;

static void *workspace_new(buffers *owner, const bnorm_shape *shape, bnorm_operation operation, size_t *size)
{
    check(bnorm_mpi_workspace_size(shape, operation, NULL, size) == BNORM_OK, "no size of the workspace");
    return (char *)take_zeros(owner, *size + 1) + 1; /* no alignment is asked for */
}

static void train_share(const data *d, const bnorm_shape *shape, const way *w, size_t at, outcome *o)
{
    const bnorm_train_params p = train_params(d, &o->k, w->epilogue);
    tensor x = { 0 }, y = { 0 };
    buffers taken = { NULL };
    size_t size;
    void *workspace = workspace_new(&taken, shape, BNORM_OP_TRAIN, &size);
    if (shape->batch) {
        x = tensor_new(&taken, shape, shape->in, FLUSH_END, d->x + at);
        y = w->in_place ? x : tensor_new(&taken, shape, shape->out, FLUSH_START, NULL);
    }
    check(bnorm_mpi_train(MPI_COMM_WORLD, shape, &p, x.data, y.data, workspace, size, NULL) == BNORM_OK,
          "training failed");
    if (shape->batch)
        check(tensor_read(&y, o->y + at, true), "what is not y was written");
    give_back(&taken);
}

static void backward_share(const data *d, const bnorm_shape *shape, const way *w, size_t at, outcome *o)
{
    const bnorm_backward_params p = backward_params(d, &o->k, w->epilogue);
    tensor x = { 0 }, dy = { 0 }, dx = { 0 };
    buffers taken = { NULL };
    size_t size;
    void *workspace = workspace_new(&taken, shape, BNORM_OP_BACKWARD, &size);
    if (shape->batch) {
        x = tensor_new(&taken, shape, shape->in, FLUSH_END, d->x + at);
        dy = tensor_new(&taken, shape, shape->out, FLUSH_END, d->dy + at);
        dx = w->in_place ? dy : tensor_new(&taken, shape, shape->in, FLUSH_START, NULL);
    }
    check(bnorm_mpi_backward(MPI_COMM_WORLD, shape, &p, x.data, dy.data, dx.data, workspace, size, NULL) == BNORM_OK,
          "backward failed");
    if (shape->batch)
        check(tensor_read(&dx, o->dx + at, true), "what is not dx was written");
    give_back(&taken);
}

/* ---- Comparing ---- */

/* Two results of which each is within a bound of what is exact. */
static bool near(float a, float b, double bound, bnorm_dtype type)
{
    return fabs((double)a - (double)b) <= bound * fmax(1, fabs((double)b)) + 2 * half_unit(type, a);
}

static void check_near(const outcome *o, const outcome *whole, const share *s, const way *w)
{
    bool y_right = true, dx_right = true, statistics_right = true, gradients_right = true;
    for (size_t i = s->first * CHANNELS * POINTS; i < (s->first + s->images) * CHANNELS * POINTS; i++) {
        y_right = y_right && near(o->y[i], whole->y[i], 1e-5, w->out);
        dx_right = dx_right && near(o->dx[i], whole->dx[i], 1e-5, w->in);
    }
    for (size_t c = 0; c < CHANNELS; c++) {
        const kept *a = &o->k, *b = &whole->k;
        const double std = sqrt((double)b->running_var[c]), mean = fabs((double)b->running_mean[c]);
        statistics_right =
            statistics_right &&
            fabs((double)a->running_var[c] - (double)b->running_var[c]) <= 3e-6 * (double)b->running_var[c] &&
            fabs((double)a->running_mean[c] - (double)b->running_mean[c]) <= 3e-6 * std + 2e-7 * mean;
        gradients_right = gradients_right && near(a->dgamma[c], b->dgamma[c], 1e-4, BNORM_DTYPE_F32) &&
                          near(a->dbeta[c], b->dbeta[c], 1e-4, BNORM_DTYPE_F32);
    }
    check(y_right, "y is not that of one process");
    check(dx_right, "dx is not that of one process");
    check(statistics_right, "statistics are not those of one process");
    check(gradients_right, "dgamma or dbeta are not those of one process");
}

static uint64_t digest_of_kept(const kept *k)
{
    return check_digest(CHECK_DIGEST_START, (const float *)(const void *)k, sizeof(*k) / sizeof(float));
}

static void check_everywhere_same(const kept *k)
{
    uint64_t mine = digest_of_kept(k), least, most;
    MPI_Allreduce(&mine, &least, 1, MPI_UINT64_T, MPI_MIN, MPI_COMM_WORLD);
    MPI_Allreduce(&mine, &most, 1, MPI_UINT64_T, MPI_MAX, MPI_COMM_WORLD);
    check(least == most, "processes have other bits than each other");
}

/* ---- What is tried ---- */

static void perform(const data *d, const share *s, const way *w, outcome *o)
{
    const size_t at = s->first * CHANNELS * POINTS;
    bnorm_shape shape = bnorm_blocked(s->images, CHANNELS, POINTS, w->block);
    shape.in.dtype = w->in;
    shape.out.dtype = w->out;
    memset(o, 0, sizeof(*o));
    train_share(d, &shape, w, at, o);
    backward_share(d, &shape, w, at, o);
}

static void check_way(const data *d, const outcome *whole, const share *s, const way *w)
{
    static outcome best, other;
    perform(d, s, w, &best);
    check_near(&best, whole, s, w);
    check_everywhere_same(&best.k);
    /* Another ISA in each process. */
    bnorm_set_isa(bnorm_isa_name((size_t)rank % bnorm_isa_count()));
    perform(d, s, w, &other);
    bnorm_set_isa(NULL);
    check(same_bits(best.y, other.y, ELEMENTS) && same_bits(best.dx, other.dx, ELEMENTS) &&
              digest_of_kept(&best.k) == digest_of_kept(&other.k),
          "other ISAs give other bits");
}

static void draw_data(data *d, input_class class, bnorm_dtype in, bnorm_dtype out, random_state *r)
{
    input_fill(class, d->x, BATCH, CHANNELS, POINTS, random_bits(r));
    input_fill(INPUT_normal, d->dy, BATCH, CHANNELS, POINTS, random_bits(r));
    round_elements(in, d->x, ELEMENTS);
    round_elements(out, d->dy, ELEMENTS);
    for (size_t c = 0; c < CHANNELS; c++) {
        d->gamma[c] = (float)(random_normal(r) * 0.3 + 1);
        d->beta[c] = (float)random_normal(r);
    }
}

static void check_classes(random_state *r)
{
    static const input_class classes[] = { INPUT_normal, INPUT_offset_1e4, INPUT_offset_1e6, INPUT_step };
    /* Where blocks are 0, processes have layouts of their own. */
    static const way ways[] = {
        { 1, BNORM_DTYPE_F32, BNORM_DTYPE_F32, false, NULL },
        { CHANNELS, BNORM_DTYPE_F32, BNORM_DTYPE_F32, true, NULL },
        { 8, BNORM_DTYPE_F32, BNORM_DTYPE_F32, false, &relu },
        { 0, BNORM_DTYPE_F32, BNORM_DTYPE_F32, false, NULL },
        { CHANNELS, BNORM_DTYPE_BF16, BNORM_DTYPE_F32, false, NULL },
        { 1, BNORM_DTYPE_F16, BNORM_DTYPE_F16, true, NULL },
    };
    static data d;
    static outcome whole;
    for (size_t c = 0; c < COUNT_OF(classes); c++)
        for (size_t i = 0; i < COUNT_OF(ways); i++) {
            way w = ways[i];
            if ((w.in != BNORM_DTYPE_F32 && c > 0) || !bnorm_has_type(w.in))
                continue;
            w.block = w.block ? w.block : rank % 2 ? 1 : CHANNELS;
            draw_data(&d, classes[c], w.in, w.out, r);
            const share s = draw_share(r);
            check_case("%s, way %zu", input_name(classes[c]), i);
            check_context("process %d of %d has %zu images", rank, processes, s.images);
            alone(&d, w.epilogue, &whole);
            check_way(&d, &whole, &s, &w);
        }
}

/* One value in each process, and one in all. */
static void check_single_values(void)
{
    float value = (float)rank, y = 7, mean = 0, var = 0;
    char workspace[4096];
    bnorm_shape shape = bnorm_nchw(1, 1, 1);
    bnorm_train_params p = { .struct_size = sizeof(p), .momentum = 1, .running_mean = &mean, .running_var = &var };
    const bnorm_status expected = processes > 1 ? BNORM_OK : BNORM_ERROR_SINGLE_VALUE;
    const float n = (float)processes;
    check_case("a value in each of %d processes", processes);
    check(bnorm_mpi_train(MPI_COMM_WORLD, &shape, &p, &value, &y, workspace, sizeof(workspace), NULL) == expected,
          "another status");
    if (processes > 1)
        check(mean == (n - 1) / 2 && fabsf(var - n * (n + 1) / 12) <= 1e-6f * var, "not the statistics of 0, 1, ...");
    shape.batch = rank == processes - 1;
    y = 7;
    mean = var = 5;
    check_case("one value in %d processes", processes);
    check(bnorm_mpi_train(MPI_COMM_WORLD, &shape, &p, &value, &y, workspace, sizeof(workspace), NULL) ==
                  BNORM_ERROR_SINGLE_VALUE &&
              y == 7 && mean == 5 && var == 5,
          "another status, or something was written");
    p.running_variance = BNORM_VARIANCE_BIASED;
    check(bnorm_mpi_train(MPI_COMM_WORLD, &shape, &p, &value, &y, workspace, sizeof(workspace), NULL) == BNORM_OK &&
              mean == n - 1 && var == 0,
          "the biased variance is asked for, and not given");
    shape.batch = 0;
    mean = var = 5;
    check_case("no value in %d processes", processes);
    check(bnorm_mpi_train(MPI_COMM_WORLD, &shape, &p, NULL, NULL, workspace, sizeof(workspace), NULL) == BNORM_OK &&
              mean == 5 && var == 5,
          "an empty batch is an error, or changed something");
}

/* The last process does something wrong: it learns what, the others that. */
static void check_failures(void)
{
    enum { NO_X, NO_WORKSPACE, SMALL_WORKSPACE, NO_PARAMS, WRONG_EPSILON, OVERLAP, NOTHING, CASES };
    static const bnorm_status expected[CASES] = { BNORM_ERROR_NULL_POINTER,
                                                  BNORM_ERROR_NULL_POINTER,
                                                  BNORM_ERROR_WORKSPACE_SIZE,
                                                  BNORM_ERROR_NULL_POINTER,
                                                  BNORM_ERROR_EPSILON,
                                                  BNORM_ERROR_OVERLAP,
                                                  BNORM_OK };
    static float x[6 * 4] = { 1, 2, 3 }, y[6 * 4], canary[6 * 4];
    static char workspace[1 << 12];
    const bnorm_shape shape = bnorm_nchw(2, 3, 4);
    check_case("failures of the last process");
    for (int wrong = 0; wrong < CASES; wrong++)
        for (int backward = 0; backward < 2; backward++) {
            const int here = rank == processes - 1 ? wrong : NOTHING;
            float running[3] = { 5, 5, 5 }, rstd[3] = { 1, 1, 1 }, mean[3] = { 0 };
            bnorm_train_params t = { .struct_size = sizeof(t), .epsilon = here == WRONG_EPSILON ? -1.0f : 1e-5f };
            bnorm_backward_params b = { .struct_size = sizeof(b), .mean = mean, .rstd = rstd, .dgamma = running };
            const void *from = here == NO_X ? NULL : x;
            void *to = here == OVERLAP ? x + 1 : y, *scratch = here == NO_WORKSPACE ? NULL : workspace;
            const size_t size = here == SMALL_WORKSPACE ? 300 : sizeof(workspace);
            bnorm_status status, mine = expected[here];
            t.running_mean = running;
            if (backward && here == WRONG_EPSILON) {
                b.statistics = (bnorm_statistics)7;
                mine = BNORM_ERROR_STATISTICS;
            }
            memset(y, 0x5a, sizeof(y));
            memcpy(canary, y, sizeof(y));
            if (backward)
                status = bnorm_mpi_backward(MPI_COMM_WORLD, &shape, here == NO_PARAMS ? NULL : &b, from, x, to, scratch,
                                            size, NULL);
            else
                status = bnorm_mpi_train(MPI_COMM_WORLD, &shape, here == NO_PARAMS ? NULL : &t, from, to, scratch, size,
                                         NULL);
            check_context("%s, process %d of %d, failure %d of the last: %s", backward ? "backward" : "train", rank,
                          processes, wrong, bnorm_status_string(status));
            check(status == (here == NOTHING && wrong != NOTHING ? BNORM_ERROR_PEER : mine), "another status");
            const bool written = memcmp(y, canary, sizeof(y)) != 0 || running[0] != 5;
            check(written == (status == BNORM_OK), "what was written is not what the status says");
        }
}

/* Neither must leave the others waiting. */
static void end(const char *how)
{
    static float x[4], y[4];
    static char workspace[1024];
    const bnorm_shape shape = bnorm_nchw(1, 1, 4);
    const bnorm_train_params p = { .struct_size = sizeof(p) };
    if (rank == 1 && strcmp(how, "abort") == 0)
        abort();
    bnorm_mpi_train(MPI_COMM_WORLD, rank == 1 ? NULL : &shape, &p, x, y, workspace, sizeof(workspace), NULL);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &processes);
    check_start(argc, argv);
    if (optind < argc) {
        end(argv[optind]);
        MPI_Finalize();
        return 0;
    }
    random_state r = { check_seed() };
    check_classes(&r);
    check_single_values();
    check_failures();
    const int status = check_finish();
    MPI_Finalize();
    return status;
}
