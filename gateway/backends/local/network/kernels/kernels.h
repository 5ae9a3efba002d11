/* The kernels, in the words of avx512.h or avx2.h: included once for each.

   Every row is computed by the same operations in the same order whatever rows there are beside it,
   and whether it belongs to a prompt or to a step. */

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

#include "products.h"

#include "attention.h"

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
    norm_row(run->states + (int64_t)row * size, run->network->norm, size, run->network->epsilon,
             normed);
    round_row(&run->rounded, number, normed, size);
}

static void embed(const void *work, int32_t row, int32_t thread)
{
    (void)thread;
    const struct run *run = work;
    const struct network *network = run->network;
    const struct matrix *matrix = &network->embedding;
    const int32_t token = run->batch->tokens[row], groups = matrix->inputs / GROUP,
                  lane = token % LANES;
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
        floats negative = multiplied(
            multiplied(add(gate, multiplied(larger(gate, zeros()), all(-1))), part), half);
        store(fed + at, add(positive, negative));
    }
    round_row(&run->rounded, row, fed, size);
}

static void adapt(const struct adapter *adapter, int32_t number, const float *inputs, int32_t size,
                  float *output)
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
                output[column] += change->up[(int64_t)low * (change->end - change->start) + column -
                                             change->start] *
                                  found;
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

#define KERNELS                                                                                    \
    {embed,    norm_attention, rotate,   attend, round_attended, norm_feed,                        \
     activate, norm_last,      multiply, adapt,  summarise}
