/* One pass of a batch through a network, and which kernels this processor can run. */
#include "network.h"

#include <stdlib.h>
#include <string.h>

static const struct kernels *chosen;

/* 2 with AVX-512 and VNNI, 1 with AVX2, 0 with neither: then nothing else may be called. */
int32_t kernels_choose(int32_t most)
{
    const struct kernels *found = NULL;
    int32_t level = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (most >= 1 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("f16c")) {
        found = &avx2_kernels;
        level = 1;
    }
    if (most >= 2 && level == 1 && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni")) {
        found = &avx512_kernels;
        level = 2;
    }
#endif
    chosen = found; /* at once, for a pass may be under way */
    return level;
}

/* The rows are so few chunks that small batches don't need the other threads. */
enum { ROWS_WORTH_SHARING = 4, CHUNKS_PER_THREAD = 4 };

struct rows {
    job *each;
    const struct run *run;
    int32_t rows, chunks;
};

static void some_rows(const void *work, int32_t chunk, int32_t thread)
{
    const struct rows *rows = work;
    const int32_t end = rows->rows * (chunk + 1) / rows->chunks;
    for (int32_t row = rows->rows * chunk / rows->chunks; row < end; row++)
        rows->each(rows->run, row, thread);
}

static void by_rows(job *each, const struct run *run, int32_t rows, int32_t threads)
{
    const int32_t most = CHUNKS_PER_THREAD * threads, enough = rows / ROWS_WORTH_SHARING;
    const int32_t chunks = enough < 1 ? 1 : enough < most ? enough : most;
    const struct rows work = {each, run, rows, chunks};
    pool_run(some_rows, &work, chunks, threads);
}

static void multiply(const struct run *run, const struct matrix *matrix, float *output,
                     int32_t rows, int32_t is_added, int32_t threads)
{
    const int32_t tiles = (matrix->outputs + LANES - 1) / LANES, most = CHUNKS_PER_THREAD * threads;
    const int32_t chunks = tiles < most ? tiles : most;
    const struct product work = {matrix, &run->rounded, output, rows, chunks, is_added};
    pool_run(chosen->multiply, &work, chunks, threads);
}

static void adapt(const struct run *run, int32_t number, const float *inputs, int32_t size,
                  float *output, int32_t outputs)
{
    const struct batch *batch = run->batch;
    if (batch->adapters == NULL)
        return;
    for (int32_t row = 0; row < batch->rows; row++)
        if (batch->adapters[row] != NULL)
            chosen->adapt(batch->adapters[row], run->layer * MATRICES + number,
                          inputs + (int64_t)row * size, size, output + (int64_t)row * outputs);
}

static void pass_layer(const struct run *run, int32_t threads)
{
    const struct network *network = run->network;
    const struct matrix *matrices = network->layers[run->layer].matrices;
    const int32_t rows = run->batch->rows, hidden = network->hidden;
    by_rows(chosen->norm_attention, run, rows, threads);
    multiply(run, &matrices[QKV], run->qkv, rows, 0, threads);
    adapt(run, QKV, run->normed, hidden, run->qkv, matrices[QKV].outputs);
    by_rows(chosen->rotate, run, rows, threads);
    pool_run(chosen->attend, run, rows * network->key_heads, threads);
    by_rows(chosen->round_attended, run, rows, threads);
    multiply(run, &matrices[OUT], run->states, rows, 1, threads);
    adapt(run, OUT, run->attended, matrices[OUT].inputs, run->states, hidden);
    by_rows(chosen->norm_feed, run, rows, threads);
    multiply(run, &matrices[GATE_UP], run->gate_up, rows, 0, threads);
    adapt(run, GATE_UP, run->normed, hidden, run->gate_up, matrices[GATE_UP].outputs);
    by_rows(chosen->activate, run, rows, threads);
    multiply(run, &matrices[DOWN], run->states, rows, 1, threads);
    adapt(run, DOWN, run->fed, matrices[DOWN].inputs, run->states, hidden);
}

/* Cut `size` bytes of the arena; NULL as the arena only measures. */
static void *cut(char *arena, size_t *used, size_t size)
{
    void *found = arena == NULL ? NULL : arena + *used;
    *used += (size + 63) / 64 * 64;
    return found;
}

static size_t lay_out(struct run *run, char *arena, int32_t threads)
{
    const struct network *network = run->network;
    const size_t rows = (size_t)run->batch->rows, number = sizeof(float) * rows;
    const size_t hidden = (size_t)network->hidden, feed = (size_t)network->feed,
                 size = (size_t)network->head_size;
    const size_t heads = size * (size_t)network->heads, keys = size * (size_t)network->key_heads;
    size_t widest = hidden > feed ? hidden : feed, used = 0;
    widest = widest > heads ? widest : heads;
    run->states = cut(arena, &used, number * hidden);
    run->normed = cut(arena, &used, number * hidden);
    run->qkv = cut(arena, &used, number * (heads + 2 * keys));
    run->attended = cut(arena, &used, number * heads);
    run->gate_up = cut(arena, &used, number * 2 * feed);
    run->fed = cut(arena, &used, number * feed);
    run->cosines = cut(arena, &used, number * size / 2);
    run->sines = cut(arena, &used, number * size / 2);
    run->scores =
        cut(arena, &used, sizeof(float) * 4 * (size_t)run->score_stride * (size_t)threads);
    run->rounded.codes = cut(arena, &used, 2 * rows * widest);
    run->rounded.scales = cut(arena, &used, number * widest / GROUP);
    run->rounded.masses = cut(arena, &used, number * widest / GROUP);
    run->rounded.offsets = cut(arena, &used, 2 * number * widest / GROUP);
    return used;
}

/* Read a batch's tokens into the memory, and give the logits of the wanted rows; -1 for want of
   memory. Its caller has checked every size and number. */
int32_t network_read(const struct network *network, const struct memory *memory,
                     const struct batch *batch, int32_t threads)
{
    struct run run = {.network = network, .memory = memory, .batch = batch};
    int32_t longest = 0;
    for (int32_t row = 0; row < batch->rows; row++)
        longest = batch->positions[row] > longest ? batch->positions[row] : longest;
    run.score_stride = (longest / LANES + 1) * LANES;
    const size_t size = lay_out(&run, NULL, threads);
    char *arena = aligned_alloc(64, size);
    if (arena == NULL)
        return -1;
    lay_out(&run, arena, threads);
    by_rows(chosen->embed, &run, batch->rows, threads);
    for (run.layer = 0; run.layer < network->count; run.layer++)
        pass_layer(&run, threads);
    if (batch->wanted_rows > 0) {
        by_rows(chosen->norm_last, &run, batch->wanted_rows, threads);
        multiply(&run, &network->head, batch->logits, batch->wanted_rows, 0, threads);
    }
    free(arena);
    return 0;
}

struct summaries {
    const float *logits;
    int64_t *likeliest;
    float *normalisers;
    int32_t size;
};

static void summarise(const void *work, int32_t row, int32_t thread)
{
    (void)thread;
    const struct summaries *all = work;
    chosen->summarise(all->logits + (int64_t)row * all->size, all->size, &all->likeliest[row],
                      &all->normalisers[row]);
}

/* For each row of logits its highest one's number, and the logarithm of the sum of all powers. */
void logits_summarise(const float *logits, int32_t rows, int32_t size, int64_t *likeliest,
                      float *normalisers, int32_t threads)
{
    const struct summaries work = {logits, likeliest, normalisers, size};
    pool_run(summarise, &work, rows, threads);
}
