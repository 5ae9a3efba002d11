/* Sixteen numbers at once, by AVX-512 with VNNI. avx2.h has the same for older processors. */

#define INLINE static inline __attribute__((always_inline))
enum { ROWS_AT_ONCE = 8 };

typedef __m512 floats;
typedef __m512i integers;
typedef __m512i codes;

INLINE floats zeros(void) { return _mm512_setzero_ps(); }
INLINE floats all(float value) { return _mm512_set1_ps(value); }
INLINE floats load(const float *from) { return _mm512_loadu_ps(from); }
INLINE void store(float *to, floats value) { _mm512_storeu_ps(to, value); }
INLINE floats add(floats a, floats b) { return _mm512_add_ps(a, b); }
INLINE floats multiplied(floats a, floats b) { return _mm512_mul_ps(a, b); }
INLINE floats divided(floats a, floats b) { return _mm512_div_ps(a, b); }
INLINE floats larger(floats a, floats b) { return _mm512_max_ps(a, b); }
INLINE floats magnitude(floats a) { return _mm512_abs_ps(a); }
INLINE floats nearest(floats a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
INLINE floats fused(floats a, floats b, floats c) { return _mm512_fmadd_ps(a, b, c); }
INLINE float sum_of(floats a) { return _mm512_reduce_add_ps(a); }
INLINE float largest_of(floats a) { return _mm512_reduce_max_ps(a); }
INLINE floats of_halves(const uint16_t *from)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
}
INLINE floats times_power(floats a, floats power) { return _mm512_scalef_ps(a, power); }

/* The first `count` of a, the others as they are in b. */
INLINE floats first_of(int count, floats a, floats b)
{
    return _mm512_mask_blend_ps((__mmask16)((1u << count) - 1), b, a);
}

INLINE floats of_bfloats(const uint16_t *from)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

INLINE void store_bfloats(uint16_t *to, floats value)
{
    __m512i bits = _mm512_castps_si512(value);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    bits = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    _mm256_storeu_si256((__m256i *)to, _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)));
}

/* The first and the second numbers of sixteen pairs of bfloat16. */
INLINE floats first_bfloats(const uint16_t *from)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(from), 16));
}
INLINE floats second_bfloats(const uint16_t *from)
{
    return _mm512_castsi512_ps(
        _mm512_and_si512(_mm512_loadu_si512(from), _mm512_set1_epi32((int)0xffff0000)));
}

/* Round to int8 and store; returns the codes for their sum. */
INLINE integers store_rounded(int8_t *to, floats value)
{
    __m512i whole = _mm512_cvtps_epi32(value);
    _mm_storeu_si128((__m128i *)to, _mm512_cvtepi32_epi8(whole));
    return whole;
}
INLINE int32_t whole_sum(integers a, integers b)
{
    return _mm512_reduce_add_epi32(_mm512_add_epi32(a, b));
}

INLINE codes load_codes(const uint8_t *from) { return _mm512_loadu_si512(from); }
INLINE codes lower(codes both) { return _mm512_and_si512(both, _mm512_set1_epi8(15)); }
INLINE codes upper(codes both)
{
    return _mm512_and_si512(_mm512_srli_epi16(both, 4), _mm512_set1_epi8(15));
}

INLINE integers start_of_4_bits(void) { return _mm512_setzero_si512(); }
/* VNNI takes codes without a sign: what is too much is known beforehand. */
INLINE integers start_of_8_bits(int32_t offset) { return _mm512_set1_epi32(offset); }
INLINE floats as_floats(integers a) { return _mm512_cvtepi32_ps(a); }

INLINE integers dot(integers sums, codes weights, const int8_t *four)
{
    int32_t inputs;
    __builtin_memcpy(&inputs, four, sizeof inputs);
    return _mm512_dpbusd_epi32(sums, weights, _mm512_set1_epi32(inputs));
}
INLINE integers dot_4_bits(integers sums, codes weights, const int8_t *four)
{
    return dot(sums, weights, four);
}
INLINE integers end_of_4_bits(integers sums) { return sums; }
INLINE integers dot_8_bits(integers sums, codes weights, const int8_t *four)
{
    return dot(sums, weights, four);
}
