/* What each row sees of the rows before it, in the memory of its slot. */

INLINE uint16_t *head_of(const struct run *run, int32_t row, int32_t head)
{
    const struct memory *memory = run->memory;
    return memory->base + run->layer * memory->layer_stride +
           run->batch->slots[row] * memory->slot_stride +
           (int64_t)head * memory->capacity * run->network->head_size;
}

/* Turn a row's queries and keys by their position, and remember its keys and values. */
static void rotate(const void *work, int32_t row, int32_t thread)
{
    (void)thread;
    const struct run *run = work;
    const struct network *network = run->network;
    const int32_t size = network->head_size, half = size / 2, position = run->batch->positions[row];
    const int32_t rotated = network->heads + network->key_heads;
    float *heads = run->qkv + (int64_t)row * (rotated + network->key_heads) * size;
    const float *cosines = run->cosines + (int64_t)row * half,
                *sines = run->sines + (int64_t)row * half;
    for (int32_t head = 0; head < rotated; head++) {
        float *values = heads + (int64_t)head * size;
        for (int32_t at = 0; at < half; at++) {
            const float first = values[at], second = values[at + half];
            values[at] = first * cosines[at] - second * sines[at];
            values[at + half] = second * cosines[at] + first * sines[at];
        }
    }
    for (int32_t head = 0; head < network->key_heads; head++) {
        uint16_t whole[LANES], *keys = head_of(run, row, head);
        keys += (int64_t)(position / LANES) * LANES * size + position % LANES * 2;
        uint16_t *values = head_of(run, row, network->key_heads + head) + (int64_t)position * size;
        const float *key = heads + (int64_t)(network->heads + head) * size,
                    *value = key + (int64_t)network->key_heads * size;
        for (int32_t at = 0; at < size; at += LANES) {
            store_bfloats(values + at, load(value + at));
            store_bfloats(whole, load(key + at));
            for (int32_t lane = 0; lane < LANES; lane++)
                keys[(at + lane) / 2 * 2 * LANES + lane % 2] = whole[lane];
        }
    }
}

enum { QUERIES_AT_ONCE = 4, VECTORS_AT_ONCE = 4 };

INLINE void score(const float *queries, const uint16_t *keys, int32_t size, int32_t count,
                  float *scores, int64_t stride, const int number)
{
    floats by = all(1 / sqrtf((float)size));
    for (int32_t start = 0; start < count; start += LANES) {
        const uint16_t *block = keys + (int64_t)start * size;
        floats sums[QUERIES_AT_ONCE];
#pragma GCC unroll 4
        for (int query = 0; query < number; query++)
            sums[query] = zeros();
        for (int32_t at = 0; at < size; at += 2) {
            floats first = first_bfloats(block + at * LANES),
                   second = second_bfloats(block + at * LANES);
#pragma GCC unroll 4
            for (int query = 0; query < number; query++) {
                sums[query] = fused(first, all(queries[query * size + at]), sums[query]);
                sums[query] = fused(second, all(queries[query * size + at + 1]), sums[query]);
            }
        }
        const int seen = count - start < LANES ? count - start : LANES;
#pragma GCC unroll 4
        for (int query = 0; query < number; query++)
            store(scores + query * stride + start,
                  first_of(seen, multiplied(sums[query], by), all(-INFINITY)));
    }
}

/* Scores to probabilities, in place, not yet divided by their sum, which is given back. */
INLINE float soften(float *scores, int32_t count)
{
    floats most = all(-INFINITY), sum = zeros();
    for (int32_t start = 0; start < count; start += LANES)
        most = larger(most, load(scores + start));
    floats highest = all(-largest_of(most));
    for (int32_t start = 0; start < count; start += LANES) {
        floats shares = exponential(add(load(scores + start), highest));
        const int seen = count - start < LANES ? count - start : LANES;
        shares = first_of(seen, shares, zeros());
        store(scores + start, shares);
        sum = add(sum, shares);
    }
    return sum_of(sum);
}

INLINE void mix(const float *shares, int64_t stride, const float *wholes, const uint16_t *values,
                int32_t size, int32_t count, float *to, const int number, const int vectors)
{
    floats sums[QUERIES_AT_ONCE][VECTORS_AT_ONCE];
#pragma GCC unroll 4
    for (int query = 0; query < number; query++)
#pragma GCC unroll 4
        for (int vector = 0; vector < vectors; vector++)
            sums[query][vector] = zeros();
    for (int32_t position = 0; position < count; position++) {
        floats some[VECTORS_AT_ONCE];
#pragma GCC unroll 4
        for (int vector = 0; vector < vectors; vector++)
            some[vector] = of_bfloats(values + (int64_t)position * size + vector * LANES);
#pragma GCC unroll 4
        for (int query = 0; query < number; query++) {
            floats share = all(shares[query * stride + position]);
#pragma GCC unroll 4
            for (int vector = 0; vector < vectors; vector++)
                sums[query][vector] = fused(share, some[vector], sums[query][vector]);
        }
    }
#pragma GCC unroll 4
    for (int query = 0; query < number; query++)
#pragma GCC unroll 4
        for (int vector = 0; vector < vectors; vector++)
            store(to + query * size + vector * LANES,
                  multiplied(sums[query][vector], all(1 / wholes[query])));
}

INLINE void attend_queries(const float *queries, const uint16_t *keys, const uint16_t *values,
                           int32_t size, int32_t count, float *scores, int64_t stride, float *to,
                           const int number)
{
    float wholes[QUERIES_AT_ONCE];
    score(queries, keys, size, count, scores, stride, number);
    for (int query = 0; query < number; query++)
        wholes[query] = soften(scores + query * stride, count);
    int32_t at = 0;
    for (; at + VECTORS_AT_ONCE * LANES <= size; at += VECTORS_AT_ONCE * LANES)
        mix(scores, stride, wholes, values + at, size, count, to + at, number, VECTORS_AT_ONCE);
    for (; at < size; at += LANES)
        mix(scores, stride, wholes, values + at, size, count, to + at, number, 1);
}

/* The chunks are rows by heads of keys. */
static void attend(const void *work, int32_t chunk, int32_t thread)
{
    const struct run *run = work;
    const struct network *network = run->network;
    const int32_t row = chunk / network->key_heads, key_head = chunk % network->key_heads;
    const int32_t size = network->head_size, sharing = network->heads / network->key_heads;
    const int32_t count = run->batch->positions[row] + 1;
    const int64_t first = (int64_t)key_head * sharing * size, stride = run->score_stride;
    const float *queries =
        run->qkv + (int64_t)row * (network->heads + 2 * network->key_heads) * size + first;
    float *to = run->attended + (int64_t)row * network->heads * size + first;
    float *scores = run->scores + thread * QUERIES_AT_ONCE * stride;
    const uint16_t *keys = head_of(run, row, key_head);
    const uint16_t *values = head_of(run, row, network->key_heads + key_head);
    int32_t left = sharing;
    for (; left >= 4; left -= 4, queries += 4 * size, to += 4 * size)
        attend_queries(queries, keys, values, size, count, scores, stride, to, 4);
    if (left == 3)
        attend_queries(queries, keys, values, size, count, scores, stride, to, 3);
    else if (left == 2)
        attend_queries(queries, keys, values, size, count, scores, stride, to, 2);
    else if (left == 1)
        attend_queries(queries, keys, values, size, count, scores, stride, to, 1);
}
