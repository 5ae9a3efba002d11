/* Sixteen numbers at once, in two halves by AVX2; avx512.h says what each does. */

#define INLINE static inline __attribute__((always_inline))
enum { ROWS_AT_ONCE = 2 };

typedef struct {
    __m256 a, b;
} floats;
typedef struct {
    __m256i a, b;
} integers;
typedef integers codes;

#define BOTH(kind, expression_a, expression_b) ((kind){expression_a, expression_b})

INLINE floats zeros(void) { return BOTH(floats, _mm256_setzero_ps(), _mm256_setzero_ps()); }
INLINE floats all(float value)
{
    return BOTH(floats, _mm256_set1_ps(value), _mm256_set1_ps(value));
}
INLINE floats load(const float *from)
{
    return BOTH(floats, _mm256_loadu_ps(from), _mm256_loadu_ps(from + 8));
}
INLINE void store(float *to, floats value)
{
    _mm256_storeu_ps(to, value.a);
    _mm256_storeu_ps(to + 8, value.b);
}
INLINE floats add(floats x, floats y)
{
    return BOTH(floats, _mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b));
}
INLINE floats multiplied(floats x, floats y)
{
    return BOTH(floats, _mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b));
}
INLINE floats divided(floats x, floats y)
{
    return BOTH(floats, _mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b));
}
INLINE floats larger(floats x, floats y)
{
    return BOTH(floats, _mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b));
}
INLINE floats magnitude(floats x)
{
    __m256 sign = _mm256_set1_ps(-0.0f);
    return BOTH(floats, _mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b));
}
INLINE floats nearest(floats x)
{
    enum { TO_NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    return BOTH(floats, _mm256_round_ps(x.a, TO_NEAREST), _mm256_round_ps(x.b, TO_NEAREST));
}
INLINE floats fused(floats x, floats y, floats z)
{
    return BOTH(floats, _mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b));
}
INLINE float sum_of(floats x)
{
    __m256 eight = _mm256_add_ps(x.a, x.b);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
INLINE float largest_of(floats x)
{
    __m256 eight = _mm256_max_ps(x.a, x.b);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}
INLINE floats of_halves(const uint16_t *from)
{
    return BOTH(floats, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from)),
                _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(from + 8))));
}
INLINE __m256 eight_times_power(__m256 x, __m256 power)
{
    __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(power), _mm256_set1_epi32(127));
    return _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}
INLINE floats times_power(floats x, floats power)
{
    return BOTH(floats, eight_times_power(x.a, power.a), eight_times_power(x.b, power.b));
}
INLINE floats first_of(int count, floats x, floats y)
{
    __m256i numbers = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i in_a = _mm256_cmpgt_epi32(_mm256_set1_epi32(count), numbers);
    __m256i in_b = _mm256_cmpgt_epi32(_mm256_set1_epi32(count - 8), numbers);
    return BOTH(floats, _mm256_blendv_ps(y.a, x.a, _mm256_castsi256_ps(in_a)),
                _mm256_blendv_ps(y.b, x.b, _mm256_castsi256_ps(in_b)));
}
INLINE __m256 of_eight_bfloats(const uint16_t *from)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
INLINE floats of_bfloats(const uint16_t *from)
{
    return BOTH(floats, of_eight_bfloats(from), of_eight_bfloats(from + 8));
}
INLINE void store_bfloats(uint16_t *to, floats value)
{
    float plain[LANES];
    store(plain, value);
    for (int lane = 0; lane < LANES; lane++) {
        uint32_t bits;
        __builtin_memcpy(&bits, &plain[lane], sizeof bits);
        to[lane] = (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    }
}
INLINE integers load_integers(const void *from)
{
    return BOTH(integers, _mm256_loadu_si256(from), _mm256_loadu_si256((const __m256i *)from + 1));
}
INLINE floats first_bfloats(const uint16_t *from)
{
    integers pairs = load_integers(from);
    return BOTH(floats, _mm256_castsi256_ps(_mm256_slli_epi32(pairs.a, 16)),
                _mm256_castsi256_ps(_mm256_slli_epi32(pairs.b, 16)));
}
INLINE floats second_bfloats(const uint16_t *from)
{
    integers pairs = load_integers(from);
    __m256i mask = _mm256_set1_epi32((int)0xffff0000);
    return BOTH(floats, _mm256_castsi256_ps(_mm256_and_si256(pairs.a, mask)),
                _mm256_castsi256_ps(_mm256_and_si256(pairs.b, mask)));
}
INLINE integers store_rounded(int8_t *to, floats value)
{
    integers whole = BOTH(integers, _mm256_cvtps_epi32(value.a), _mm256_cvtps_epi32(value.b));
    __m256i shorts = _mm256_permute4x64_epi64(_mm256_packs_epi32(whole.a, whole.b), 0xd8);
    __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(shorts), _mm256_extracti128_si256(shorts, 1));
    _mm_storeu_si128((__m128i *)to, bytes);
    return whole;
}
INLINE int32_t whole_sum(integers x, integers y)
{
    __m256i eight = _mm256_add_epi32(_mm256_add_epi32(x.a, x.b), _mm256_add_epi32(y.a, y.b));
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}
INLINE codes load_codes(const uint8_t *from) { return load_integers(from); }
INLINE codes lower(codes both)
{
    __m256i mask = _mm256_set1_epi8(15);
    return BOTH(codes, _mm256_and_si256(both.a, mask), _mm256_and_si256(both.b, mask));
}
INLINE codes upper(codes both)
{
    return lower(BOTH(codes, _mm256_srli_epi16(both.a, 4), _mm256_srli_epi16(both.b, 4)));
}
INLINE integers start_of_4_bits(void)
{
    return BOTH(integers, _mm256_setzero_si256(), _mm256_setzero_si256());
}
/* Here the codes get their sign back. */
INLINE integers start_of_8_bits(int32_t offset)
{
    (void)offset;
    return start_of_4_bits();
}
INLINE floats as_floats(integers x)
{
    return BOTH(floats, _mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b));
}
INLINE __m256i eight_inputs(const int8_t *four)
{
    int32_t inputs;
    __builtin_memcpy(&inputs, four, sizeof inputs);
    return _mm256_set1_epi32(inputs);
}
INLINE __m256i eight_dots(__m256i sums, __m256i unsigned_bytes, __m256i signed_bytes)
{
    __m256i pairs = _mm256_maddubs_epi16(unsigned_bytes, signed_bytes);
    return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
/* A lane adds up 16 products of a group, at most 16 * 15 * 128: that fits into 16 bits. */
INLINE integers dot_4_bits(integers sums, codes weights, const int8_t *four)
{
    __m256i inputs = eight_inputs(four);
    return BOTH(integers, _mm256_add_epi16(sums.a, _mm256_maddubs_epi16(weights.a, inputs)),
                _mm256_add_epi16(sums.b, _mm256_maddubs_epi16(weights.b, inputs)));
}
INLINE integers end_of_4_bits(integers sums)
{
    __m256i ones = _mm256_set1_epi16(1);
    return BOTH(integers, _mm256_madd_epi16(sums.a, ones), _mm256_madd_epi16(sums.b, ones));
}
/* Both factors lie within 127, so that two products fit into 16 bits. */
INLINE integers dot_8_bits(integers sums, codes weights, const int8_t *four)
{
    __m256i inputs = eight_inputs(four), size = _mm256_abs_epi8(inputs),
            middle = _mm256_set1_epi8((char)0x80);
    __m256i a = _mm256_sign_epi8(_mm256_xor_si256(weights.a, middle), inputs);
    __m256i b = _mm256_sign_epi8(_mm256_xor_si256(weights.b, middle), inputs);
    return BOTH(integers, eight_dots(sums.a, size, a), eight_dots(sums.b, size, b));
}
