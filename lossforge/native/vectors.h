// Vectors of floats as wide as the machine has them, and the functions of them that losses are made of.
//
// NaN in gives NaN out, but of logarithm. Divisions are true divisions: approximate reciprocals differ between makers of CPUs.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(__AVX__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

#define INLINE __attribute__((always_inline)) static inline

typedef float Floats __attribute__((vector_size(LANES * 4)));
typedef int32_t Ints __attribute__((vector_size(LANES * 4)));

INLINE Floats all(float x) { return Floats{} + x; }

INLINE Floats load(const float *from) {
    Floats x;
    std::memcpy(&x, from, sizeof x);
    return x;
}

INLINE void store(float *to, Floats x) { std::memcpy(to, &x, sizeof x); }

// from[index[lane]] of every lane.
INLINE Floats gathered(const float *from, const int32_t *index) {
#if defined(__AVX512F__)
    return (Floats)_mm512_i32gather_ps(_mm512_loadu_si512(index), from, sizeof(float));
#else
    Floats x;
    for (int lane = 0; lane < LANES; lane++) x[lane] = from[index[lane]];
    return x;
#endif
}

INLINE Floats absolute(Floats x) { return (Floats)((Ints)x & 0x7fffffff); }

// min(x, limit) and max(x, limit); NaN where x is.
INLINE Floats at_most(Floats x, Floats limit) {
#if defined(__AVX512F__)
    return (Floats)_mm512_min_ps((__m512)limit, (__m512)x);
#elif defined(__AVX__)
    return (Floats)_mm256_min_ps((__m256)limit, (__m256)x);
#else
    return x > limit ? limit : x;
#endif
}

INLINE Floats at_least(Floats x, Floats limit) {
#if defined(__AVX512F__)
    return (Floats)_mm512_max_ps((__m512)limit, (__m512)x);
#elif defined(__AVX__)
    return (Floats)_mm256_max_ps((__m256)limit, (__m256)x);
#else
    return x < limit ? limit : x;
#endif
}

INLINE Floats clamped(Floats x, float limit) { return at_least(at_most(x, all(limit)), all(-limit)); }

// sum_i coefficients[i] t^i by Horner's rule.
template <int N> INLINE Floats polynomial(Floats t, const float (&coefficients)[N]) {
    Floats value = all(coefficients[N - 1]);
#pragma GCC unroll 16
    for (int i = N - 2; i >= 0; i--) value = value * t + coefficients[i];
    return value;
}

// e^x for x <= 88: x = n log 2 + r, e^r by its Taylor series, |r| <= log(2) / 2. Relative error below 2e-7; where the
// result is below the smallest normal number, it is rounded once more.
INLINE Floats exponential(Floats x) {
    x = at_least(at_most(x, all(88.0f)), all(-110.0f));
    const Floats magic = all(12582912.0f);  // 1.5 * 2^23: a sum with it is rounded to an integer
    Floats n = (x * 1.44269504f + magic) - magic;
    Floats r = x - n * 0.693359375f + n * 2.12194440e-4f;  // log 2 in two parts, the first exact in products with n
    Floats value = polynomial(r, {1.0f, 1.0f, 1.0f / 2, 1.0f / 6, 1.0f / 24, 1.0f / 120, 1.0f / 720, 1.0f / 5040});
    Ints whole = __builtin_convertvector(at_least(n, all(-200.0f)), Ints), half = whole >> 1;
    return value * (Floats)((half + 127) << 23) * (Floats)((whole - half + 127) << 23);
}

// log x for normal, positive x: x = 2^n m with sqrt(1/2) <= m < sqrt(2), log m = 2 artanh s, s = (m - 1) / (m + 1).
INLINE Floats logarithm(Floats x) {
    Ints bits = (Ints)x, n = (bits - 0x3f3504f3) >> 23;
    Floats m = (Floats)(bits - (n << 23)), s = (m - 1.0f) / (m + 1.0f), s2 = s * s;
    Floats series = polynomial(s2, {2.0f, 2.0f / 3, 2.0f / 5, 2.0f / 7, 2.0f / 9});
    return __builtin_convertvector(n, Floats) * 0.693147181f + s * series;
}
