/* The kernels for processors with AVX2. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "network.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#endif

#include "avx2.h"

#include "kernels.h"

const struct kernels avx2_kernels = KERNELS;

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
