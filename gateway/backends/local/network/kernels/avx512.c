/* The kernels for processors with AVX-512 and VNNI. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "network.h"

#if defined(__clang__)
#pragma clang attribute push(                                                                      \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))),        \
    apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#endif

#include "avx512.h"

#include "kernels.h"

const struct kernels avx512_kernels = KERNELS;

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
