// The most fused products and sums that one core does in a second: independent chains in registers.

#include <chrono>

#include "vectors.h"

constexpr int CHAINS = 12;  // enough for a latency of 4 cycles and 2 pipes, and few enough for 16 registers

extern "C" double flop_per_second() {
    constexpr long ROUNDS = 20'000'000;
    Floats sums[CHAINS];
    for (auto &sum : sums) sum = all(1.0f);
    Floats factor = all(0.999f), term = all(0.001f);
    asm volatile("" : "+v"(factor), "+v"(term));  // not known to the compiler
    const auto begin = std::chrono::steady_clock::now();
    for (long round = 0; round < ROUNDS; round++)
#pragma GCC unroll 12
        for (int chain = 0; chain < CHAINS; chain++) sums[chain] = sums[chain] * factor + term;
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    for (auto &sum : sums) asm volatile("" ::"v"(sum));
    return 2.0 * LANES * CHAINS * ROUNDS / seconds.count();
}
