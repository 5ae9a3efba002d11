/* A network of the Llama kind as the kernels see it. All floats are float32 unless said otherwise.

   library.py mirrors these structures. */
#ifndef GATEWAY_NETWORK_H
#define GATEWAY_NETWORK_H

#include <stddef.h>
#include <stdint.h>

enum { LANES = 16, GROUP = 32, MOST_ROWS = 256 };

/* A weight is scale * code + low. Outputs stand in tiles of 16, inputs in groups of 32.

   codes, by tile and group: of 8 bits, 8 x [16 outputs][4 inputs]; of 4 bits, 4 times the same with
   the inputs 16 further on in the upper halves. levels, likewise, are float16: 16 scales, and for
   4 bits 16 lows; with 8 bits a code stands for code - 128 scales. */
struct matrix {
    const uint8_t *codes;
    const uint16_t *levels;
    const float *bias; /* or NULL */
    int32_t outputs, inputs, bits;
};

enum { QKV, OUT, GATE_UP, DOWN, MATRICES };

struct layer {
    const float *attention_norm, *feed_norm;
    struct matrix matrices[MATRICES];
};

struct network {
    const struct layer *layers;
    struct matrix embedding, head;
    const float *norm;
    const float *frequencies; /* head_size / 2 */
    int32_t count, hidden, heads, key_heads, head_size, feed;
    float epsilon;
};

/* Keys and values in bfloat16, by layer and slot: [2 x key_heads][capacity][head_size].

   Sixteen positions of keys stand together: [head_size / 2][16 positions][2]. */
struct memory {
    uint16_t *base;
    int64_t layer_stride, slot_stride; /* in numbers */
    int32_t capacity;
};

/* up (down x) is added to columns start..end of a matrix's output. */
struct change {
    const float *down, *up;
    int32_t start, end, rank;
};

/* Changes by layer and matrix: those of number n are first[n] .. first[n + 1]. */
struct adapter {
    const struct change *changes;
    const int32_t *first;
};

/* Rows of tokens, each with its slot and position there; rows of a slot follow one another. */
struct batch {
    const int32_t *tokens, *slots, *positions;
    const struct adapter *const *adapters; /* by row, each may be NULL; NULL where none has one */
    const int32_t *wanted;                 /* the rows whose logits are wanted */
    float *logits;                         /* [wanted][vocabulary] */
    int32_t rows, wanted_rows;
};

/* Rows rounded to int8 in groups of 32, twice: value = scale * (code + finer code / 254). */
struct rounded {
    int8_t *codes;          /* by row: [2][inputs], the finer ones second */
    float *scales, *masses; /* by group; a mass is the sum of its values */
    int32_t *offsets;       /* by group: [2], -128 * (sum of the codes) */
};

/* What one call works with; its buffers have a row for each of the batch. */
struct run {
    const struct network *network;
    const struct memory *memory;
    const struct batch *batch;
    int32_t layer;
    float *states, *normed, *qkv, *attended, *gate_up, *fed;
    float *cosines, *sines;
    float *scores; /* by thread: [4][score_stride] */
    int64_t score_stride;
    struct rounded rounded;
};

/* A product's job: rows of `rounded` times a matrix, written or added to `output`. */
struct product {
    const struct matrix *matrix;
    const struct rounded *rounded;
    float *output;
    int32_t rows, chunks, is_added;
};

/* Jobs by row or chunk; `work` is a struct run, but for products. */
typedef void job(const void *work, int32_t chunk, int32_t thread);

struct kernels {
    job *embed, *norm_attention, *rotate, *attend, *round_attended, *norm_feed, *activate,
        *norm_last;
    job *multiply;
    void (*adapt)(const struct adapter *, int32_t number, const float *inputs, int32_t size,
                  float *output);
    void (*summarise)(const float *logits, int32_t size, int64_t *likeliest, float *normaliser);
};

extern const struct kernels avx512_kernels, avx2_kernels;

/* Do `count` chunks of a job on so many threads, and return when all are done; for one caller at
   a time. */
void pool_run(job *work_on, const void *work, int32_t count, int32_t threads);

#endif
