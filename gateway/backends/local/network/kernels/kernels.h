/* The kernels, in the words of avx512.h or avx2.h: included once for each.

   Every row is computed by the same operations in the same order whatever rows there are beside it,
   and whether it belongs to a prompt or to a step. */


/* So many rows of `x`, from `row` on, times one tile of outputs. */
INLINE void multiply_tile(const struct product *job, int32_t tile, int32_t row, const int rows, const int bits)
{
    const struct matrix *matrix = job->matrix;
    const int32_t groups = matrix->inputs / GROUP;
    const int64_t first = (int64_t)tile * groups;
    const uint8_t *at = matrix->codes + first * (bits * 64);
    const uint16_t *levels = matrix->levels + first * (bits == 4 ? 2 * LANES : LANES);
    const int8_t *inputs = job->rounded->codes + (int64_t)row * matrix->inputs;
    const float *scales = job->rounded->scales + (int64_t)row * groups;
    const float *masses = job->rounded->masses + (int64_t)row * groups;
    const int32_t *offsets = job->rounded->offsets + (int64_t)row * groups;
    floats sums[ROWS_AT_ONCE];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
        sums[r] = zeros();
    for (int32_t group = 0; group < groups; group++, at += bits * 64) {
        integers dots[ROWS_AT_ONCE];
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
            dots[r] = bits == 4 ? start_of_4_bits() : start_of_8_bits(offsets[r * groups + group]);
#pragma GCC unroll 8
        for (int part = 0; part < bits; part++) {
            codes weights = load_codes(at + 64 * part);
            const int8_t *four = inputs + group * GROUP + 4 * part;
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                const int8_t *mine = four + (int64_t)r * matrix->inputs;
                if (bits == 8)
                    dots[r] = dot_8_bits(dots[r], weights, mine);
                else
                    dots[r] = dot_4_bits(dot_4_bits(dots[r], lower(weights), mine), upper(weights), mine + 16);
            }
        }
        floats scale = of_halves(levels);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
            sums[r] = fused(multiplied(scale, all(scales[r * groups + group])), as_floats(dots[r]), sums[r]);
        if (bits == 4) {
            floats low = of_halves(levels + LANES);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++)
                sums[r] = fused(low, all(masses[r * groups + group]), sums[r]);
        }
        levels += bits == 4 ? 2 * LANES : LANES;
    }
    const int32_t start = tile * LANES, left = matrix->outputs - start;
    float *output = job->output + (int64_t)row * matrix->outputs + start;
    for (int r = 0; r < rows; r++, output += matrix->outputs) {
        float edge[LANES] = {0}, bias[LANES] = {0};
        const size_t size = sizeof(float) * (size_t)(left < LANES ? left : LANES);
        if (matrix->bias != NULL) {
            memcpy(bias, matrix->bias + start, size);
            sums[r] = add(sums[r], load(bias));
        }
        if (left >= LANES) {
            store(output, job->is_added ? add(load(output), sums[r]) : sums[r]);
            continue;
        }
        memcpy(edge, output, size);
        store(edge, job->is_added ? add(load(edge), sums[r]) : sums[r]);
        memcpy(output, edge, size);
    }
}

INLINE void multiply_tiles(const struct product *job, int32_t first, int32_t end, const int bits)
{
    int32_t row = 0;
    for (; row + ROWS_AT_ONCE <= job->rows; row += ROWS_AT_ONCE)
        for (int32_t tile = first; tile < end; tile++)
            multiply_tile(job, tile, row, ROWS_AT_ONCE, bits);
    for (; ROWS_AT_ONCE > 4 && row + 4 <= job->rows; row += 4)
        for (int32_t tile = first; tile < end; tile++)
            multiply_tile(job, tile, row, ROWS_AT_ONCE < 4 ? 1 : 4, bits);
    for (; row + 2 <= job->rows; row += 2)
        for (int32_t tile = first; tile < end; tile++)
            multiply_tile(job, tile, row, 2, bits);
    for (; row < job->rows; row++)
        for (int32_t tile = first; tile < end; tile++)
            multiply_tile(job, tile, row, 1, bits);
}

static void multiply(const void *work, int32_t chunk, int32_t thread)
{
    (void)thread;
    const struct product *job = work;
    const int32_t tiles = (job->matrix->outputs + LANES - 1) / LANES;
    const int32_t first = (int32_t)((int64_t)tiles * chunk / job->chunks);
    const int32_t end = (int32_t)((int64_t)tiles * (chunk + 1) / job->chunks);
    if (job->matrix->bits == 4)
        multiply_tiles(job, first, end, 4);
    else
        multiply_tiles(job, first, end, 8);
}

/* Round a row to int8, groups of 32 apart. */
INLINE void round_row(const struct rounded *to, int32_t row, const float *values, int32_t size)
{
    const int32_t groups = size / GROUP;
    for (int32_t group = 0; group < groups; group++) {
        const int64_t at = (int64_t)row * groups + group;
        floats first = load(values + group * GROUP), second = load(values + group * GROUP + LANES);
        const float most = largest_of(larger(magnitude(first), magnitude(second)));
        const float scale = most / 127, by = most > 0 ? 127 / most : 0;
        int8_t *codes = to->codes + at * GROUP;
        integers low = store_rounded(codes, multiplied(first, all(by)));
        integers high = store_rounded(codes + LANES, multiplied(second, all(by)));
        const int32_t sum = whole_sum(low, high);
        to->scales[at] = scale;
        to->masses[at] = scale * (float)sum;
        to->offsets[at] = -128 * sum;
    }
}

INLINE void norm_row(const float *from, const float *weight, int32_t size, float epsilon, float *to)
{
    floats squares = zeros();
    for (int32_t at = 0; at < size; at += LANES) {
        floats some = load(from + at);
        squares = fused(some, some, squares);
    }
    floats by = all(1 / sqrtf(sum_of(squares) / (float)size + epsilon));
    for (int32_t at = 0; at < size; at += LANES)
        store(to + at, multiplied(multiplied(load(from + at), by), load(weight + at)));
}

static void norm_and_round(const struct run *run, int32_t row, const float *weight)
{
    const int32_t size = run->network->hidden;
    float *normed = run->normed + (int64_t)row * size;
    norm_row(run->states + (int64_t)row * size, weight, size, run->network->epsilon, normed);
    round_row(&run->rounded, row, normed, size);
}

static void norm_attention(const void *work, int32_t row, int32_t thread)
{
    (void)thread;
    const struct run *run = work;
    norm_and_round(run, row, run->network->layers[run->layer].attention_norm);
}

static void norm_feed(const void *work, int32_t row, int32_t thread)
{
    (void)thread;
    const struct run *run = work;
    norm_and_round(run, row, run->network->layers[run->layer].feed_norm);
}

/* Of the rows that are wanted, each for the row that it is among them. */
static void norm_last(const void *work, int32_t number, int32_t thread)
{
    (void)thread;
    const struct run *run = work;
    const int32_t size = run->network->hidden, row = run->batch->wanted[number];
    float *normed = run->normed + (int64_t)number * size;
    norm_row(run->states + (int64_t)row * size, run->network->norm, size, run->network->epsilon, normed);
    round_row(&run->rounded, number, normed, size);
}

static void embed(const void *work, int32_t row, int32_t thread)
{
    (void)thread;
    const struct run *run = work;
    const struct network *network = run->network;
    const struct matrix *matrix = &network->embedding;
    const int32_t token = run->batch->tokens[row], groups = matrix->inputs / GROUP, lane = token % LANES;
    float *states = run->states + (int64_t)row * network->hidden;
    for (int32_t group = 0; group < groups; group++) {
        const int64_t at = (int64_t)(token / LANES) * groups + group;
        float scales[LANES], lows[LANES] = {0};
        store(scales, of_halves(matrix->levels + at * (matrix->bits == 4 ? 2 * LANES : LANES)));
        if (matrix->bits == 4)
            store(lows, of_halves(matrix->levels + at * 2 * LANES + LANES));
        const uint8_t *codes = matrix->codes + at * (matrix->bits * 64) + lane * 4;
        for (int32_t input = 0; input < GROUP; input++) {
            int32_t code;
            if (matrix->bits == 8)
                code = codes[input / 4 * 64 + input % 4] - 128;
            else
                code = codes[input % 16 / 4 * 64 + input % 4] >> (input / 16 * 4) & 15;
            states[group * GROUP + input] = scales[lane] * (float)code + lows[lane];
        }
    }
    const int32_t half = network->head_size / 2;
    for (int32_t at = 0; at < half; at++) {
        const float angle = (float)run->batch->positions[row] * network->frequencies[at];
        run->cosines[row * half + at] = cosf(angle);
        run->sines[row * half + at] = sinf(angle);
    }
}

INLINE uint16_t *head_of(const struct run *run, int32_t row, int32_t head)
{
    const struct memory *memory = run->memory;
    return memory->base + run->layer * memory->layer_stride + run->batch->slots[row] * memory->slot_stride
           + (int64_t)head * memory->capacity * run->network->head_size;
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
    const float *cosines = run->cosines + (int64_t)row * half, *sines = run->sines + (int64_t)row * half;
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
        const float *key = heads + (int64_t)(network->heads + head) * size, *value = key + (int64_t)network->key_heads * size;
        for (int32_t at = 0; at < size; at += LANES) {
            store_bfloats(values + at, load(value + at));
            store_bfloats(whole, load(key + at));
            for (int32_t lane = 0; lane < LANES; lane++)
                keys[(at + lane) / 2 * 2 * LANES + lane % 2] = whole[lane];
        }
    }
}

/* e to the power of numbers that aren't above 0. */
INLINE floats exponential(floats x)
{
    x = larger(x, all(-87));
    floats power = nearest(multiplied(x, all(1.44269504f)));
    floats rest = fused(power, all(-0.693359375f), x);
    rest = fused(power, all(2.12194440e-4f), rest);
    floats sum = all(1.9875691500e-4f);
    sum = fused(sum, rest, all(1.3981999507e-3f));
    sum = fused(sum, rest, all(8.3334519073e-3f));
    sum = fused(sum, rest, all(4.1665795894e-2f));
    sum = fused(sum, rest, all(1.6666665459e-1f));
    sum = fused(sum, rest, all(5.0000001201e-1f));
    sum = fused(multiplied(sum, rest), rest, add(rest, all(1)));
    return times_power(sum, power);
}

enum { QUERIES_AT_ONCE = 4, VECTORS_AT_ONCE = 4 };

INLINE void score(const float *queries, const uint16_t *keys, int32_t size, int32_t count, float *scores, int64_t stride, const int number)
{
    floats by = all(1 / sqrtf((float)size));
    for (int32_t start = 0; start < count; start += LANES) {
        const uint16_t *block = keys + (int64_t)start * size;
        floats sums[QUERIES_AT_ONCE];
#pragma GCC unroll 4
        for (int query = 0; query < number; query++)
            sums[query] = zeros();
        for (int32_t at = 0; at < size; at += 2) {
            floats first = first_bfloats(block + at * LANES), second = second_bfloats(block + at * LANES);
#pragma GCC unroll 4
            for (int query = 0; query < number; query++) {
                sums[query] = fused(first, all(queries[query * size + at]), sums[query]);
                sums[query] = fused(second, all(queries[query * size + at + 1]), sums[query]);
            }
        }
        const int seen = count - start < LANES ? count - start : LANES;
#pragma GCC unroll 4
        for (int query = 0; query < number; query++)
            store(scores + query * stride + start, first_of(seen, multiplied(sums[query], by), all(-INFINITY)));
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

INLINE void mix(const float *shares, int64_t stride, const float *wholes, const uint16_t *values, int32_t size, int32_t count, float *to, const int number, const int vectors)
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
            store(to + query * size + vector * LANES, multiplied(sums[query][vector], all(1 / wholes[query])));
}

INLINE void attend_queries(const float *queries, const uint16_t *keys, const uint16_t *values, int32_t size, int32_t count, float *scores, int64_t stride, float *to, const int number)
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
    const float *queries = run->qkv + (int64_t)row * (network->heads + 2 * network->key_heads) * size + first;
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

static void round_attended(const void *work, int32_t row, int32_t thread)
{
    (void)thread;
    const struct run *run = work;
    const int32_t size = run->network->heads * run->network->head_size;
    round_row(&run->rounded, row, run->attended + (int64_t)row * size, size);
}

/* silu(gate) * up. */
static void activate(const void *work, int32_t row, int32_t thread)
{
    (void)thread;
    const struct run *run = work;
    const int32_t size = run->network->feed;
    const float *gates = run->gate_up + 2 * (int64_t)row * size, *ups = gates + size;
    float *fed = run->fed + (int64_t)row * size;
    for (int32_t at = 0; at < size; at += LANES) {
        floats gate = load(gates + at), part = exponential(multiplied(magnitude(gate), all(-1)));
        /* 1 / (1 + e^-|x|) is the sigmoid of |x|, e^-|x| times it that of -|x|. */
        floats half = divided(load(ups + at), add(all(1), part));
        floats positive = multiplied(larger(gate, zeros()), half);
        floats negative = multiplied(multiplied(add(gate, multiplied(larger(gate, zeros()), all(-1))), part), half);
        store(fed + at, add(positive, negative));
    }
    round_row(&run->rounded, row, fed, size);
}

static void adapt(const struct adapter *adapter, int32_t number, const float *inputs, int32_t size, float *output)
{
    for (int32_t at = adapter->first[number]; at < adapter->first[number + 1]; at++) {
        const struct change *change = &adapter->changes[at];
        for (int32_t low = 0; low < change->rank; low++) {
            const float *down = change->down + (int64_t)low * size;
            floats sum = zeros();
            for (int32_t input = 0; input < size; input += LANES)
                sum = fused(load(down + input), load(inputs + input), sum);
            const float found = sum_of(sum);
            for (int32_t column = change->start; column < change->end; column++)
                output[column] += change->up[(int64_t)low * (change->end - change->start) + column - change->start] * found;
        }
    }
}

static void summarise(const float *logits, int32_t size, int64_t *likeliest, float *normaliser)
{
    const int32_t whole = size / LANES * LANES;
    floats most = all(-INFINITY), sum = zeros();
    float edge[LANES];
    store(edge, all(-INFINITY));
    memcpy(edge, logits + whole, sizeof(float) * (size_t)(size - whole));
    for (int32_t at = 0; at < whole; at += LANES)
        most = larger(most, load(logits + at));
    const float highest = largest_of(larger(most, load(edge)));
    for (int32_t at = 0; at < whole; at += LANES)
        sum = add(sum, exponential(add(load(logits + at), all(-highest))));
    floats rest = exponential(add(load(edge), all(-highest)));
    sum = add(sum, first_of(size - whole, rest, zeros()));
    *normaliser = highest + logf(sum_of(sum));
    *likeliest = 0;
    for (int32_t at = 0; at < size; at++)
        if (logits[at] == highest) {
            *likeliest = at;
            break;
        }
}

#define KERNELS                                                                                      \
    {                                                                                                \
        embed, norm_attention, rotate, attend, round_attended, norm_feed, activate, norm_last, multiply, \
            adapt, summarise                                                                         \
    }
