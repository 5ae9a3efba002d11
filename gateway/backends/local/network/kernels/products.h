/* Rows rounded to int8 twice, and their products with a matrix. */

/* What is left of a number after its rounding is at most a half: 127 of these. */
#define FINER 254

/* Round a row to int8, groups of 32 apart, and what that leaves once more. */
INLINE void round_row(const struct rounded *to, int32_t row, const float *values, int32_t size)
{
    const int32_t groups = size / GROUP;
    for (int32_t group = 0; group < groups; group++) {
        const int64_t at = (int64_t)row * groups + group;
        floats first = load(values + group * GROUP), second = load(values + group * GROUP + LANES);
        const float most = largest_of(larger(magnitude(first), magnitude(second)));
        const float scale = most / 127, by = most > 0 ? 127 / most : 0;
        int8_t *coarse = to->codes + (int64_t)row * 2 * size + group * GROUP, *fine = coarse + size;
        first = multiplied(first, all(by));
        second = multiplied(second, all(by));
        integers low = store_rounded(coarse, first);
        integers high = store_rounded(coarse + LANES, second);
        const int32_t sum = whole_sum(low, high);
        first = multiplied(fused(as_floats(low), all(-1), first), all(FINER));
        second = multiplied(fused(as_floats(high), all(-1), second), all(FINER));
        low = store_rounded(fine, first);
        high = store_rounded(fine + LANES, second);
        const int32_t finer_sum = whole_sum(low, high);
        to->scales[at] = scale;
        to->masses[at] = scale * ((float)sum + (float)finer_sum / FINER);
        to->offsets[2 * at] = -128 * sum;
        to->offsets[2 * at + 1] = -128 * finer_sum;
    }
}

/* A row's sums of a tile, with their biases, into the output; the last tile may be narrower. */
INLINE void put(const struct product *job, int32_t tile, int32_t row, floats sums)
{
    const struct matrix *matrix = job->matrix;
    const int32_t start = tile * LANES, left = matrix->outputs - start;
    const size_t size = sizeof(float) * (size_t)(left < LANES ? left : LANES);
    float *output = job->output + (int64_t)row * matrix->outputs + start;
    float edge[LANES] = {0};
    if (matrix->bias != NULL) {
        memcpy(edge, matrix->bias + start, size);
        sums = add(sums, load(edge));
    }
    if (left >= LANES) {
        store(output, job->is_added ? add(load(output), sums) : sums);
        return;
    }
    memcpy(edge, output, size);
    store(edge, job->is_added ? add(load(edge), sums) : sums);
    memcpy(output, edge, size);
}

INLINE integers dot_of_bits(const int bits, integers sums, codes weights, const int8_t *mine)
{
    if (bits == 8)
        return dot_8_bits(sums, weights, mine);
    return dot_4_bits(dot_4_bits(sums, lower(weights), mine), upper(weights), mine + 16);
}

/* So many rows of `x`, from `row` on, times one tile of outputs. */
INLINE void multiply_tile(const struct product *job, int32_t tile, int32_t row, const int rows,
                          const int bits)
{
    const struct matrix *matrix = job->matrix;
    const int32_t groups = matrix->inputs / GROUP;
    const int64_t first = (int64_t)tile * groups;
    const uint8_t *at = matrix->codes + first * (bits * 64);
    const uint16_t *levels = matrix->levels + first * (bits == 4 ? 2 * LANES : LANES);
    const int8_t *inputs = job->rounded->codes + (int64_t)row * 2 * matrix->inputs;
    const float *scales = job->rounded->scales + (int64_t)row * groups;
    const float *masses = job->rounded->masses + (int64_t)row * groups;
    const int32_t *offsets = job->rounded->offsets + (int64_t)row * 2 * groups;
    floats sums[ROWS_AT_ONCE];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
        sums[r] = zeros();
    for (int32_t group = 0; group < groups; group++, at += bits * 64) {
        integers dots[ROWS_AT_ONCE], finer[ROWS_AT_ONCE];
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const int32_t *offset = offsets + 2 * (r * groups + group);
            dots[r] = bits == 4 ? start_of_4_bits() : start_of_8_bits(offset[0]);
            finer[r] = bits == 4 ? start_of_4_bits() : start_of_8_bits(offset[1]);
        }
#pragma GCC unroll 8
        for (int part = 0; part < bits; part++) {
            codes weights = load_codes(at + 64 * part);
            const int8_t *four = inputs + group * GROUP + 4 * part;
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                const int8_t *mine = four + (int64_t)r * 2 * matrix->inputs;
                dots[r] = dot_of_bits(bits, dots[r], weights, mine);
                finer[r] = dot_of_bits(bits, finer[r], weights, mine + matrix->inputs);
            }
        }
        floats scale = of_halves(levels);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            integers coarse = bits == 4 ? end_of_4_bits(dots[r]) : dots[r];
            integers fine = bits == 4 ? end_of_4_bits(finer[r]) : finer[r];
            floats whole = fused(as_floats(fine), all(1.0f / FINER), as_floats(coarse));
            sums[r] = fused(multiplied(scale, all(scales[r * groups + group])), whole, sums[r]);
        }
        if (bits == 4) {
            floats low = of_halves(levels + LANES);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++)
                sums[r] = fused(low, all(masses[r * groups + group]), sums[r]);
        }
        levels += bits == 4 ? 2 * LANES : LANES;
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
        put(job, tile, row + r, sums[r]);
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
