// What one core does in a second when nothing but arithmetic holds it up: fused products, and activations, of values that
// are in registers or next to them.

#include <algorithm>
#include <chrono>

#include "activations.h"

namespace {

constexpr int CHAINS = 12;  // enough for a latency of 4 cycles and 2 pipes, and few enough for 16 registers
constexpr int VECTORS = 8;
constexpr long ROUNDS = 4'000'000;

template <class Work> double numbers_per_second(Work work, long rounds, int vectors) {
    const auto begin = std::chrono::steady_clock::now();
    for (long round = 0; round < rounds; round++) work();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    return double(rounds) * vectors * LANES / seconds.count();
}

// Not known to the compiler, so that nothing is worked out beforehand or left out.
INLINE void hide(Floats &x) { asm volatile("" : "+v"(x)); }

struct Arguments {
    Floats vectors[VECTORS];

    Arguments() {
        for (int v = 0; v < VECTORS; v++) vectors[v] = all(0.1f * v - 0.3f);
    }
};

template <class Activation, int COUNT> double sums_per_second(const Arguments &arguments) {
    return numbers_per_second(
        [&] {
#pragma GCC unroll 4
            for (int first = 0; first < VECTORS; first += COUNT) {
                const auto term = [&](int v) {
                    Floats x = arguments.vectors[v];
                    hide(x);
                    return Activation::fraction(x);
                };
                Floats sum = value(sum_of<COUNT>(term, first));
                hide(sum);
            }
        },
        ROUNDS, VECTORS);
}

// The fastest of three ways: one by one, or two or eight fractions added with one division.
template <class Activation> double activations_per_second() {
    static Arguments arguments;
    const double single = numbers_per_second(
        [] {
#pragma GCC unroll 8
            for (auto &vector : arguments.vectors) {
                Floats x = vector;
                hide(x);
                Floats y = Activation::of(x);
                hide(y);
            }
        },
        ROUNDS, VECTORS);
    return std::max({single, sums_per_second<Activation, 2>(arguments), sums_per_second<Activation, 8>(arguments)});
}

}  // namespace

extern "C" {

// Two operations for each fused product and sum.
double flop_per_second() {
    Floats sums[CHAINS], factor = all(0.999f), term = all(0.001f);
    for (auto &sum : sums) sum = all(1.0f);
    hide(factor);
    hide(term);
    const double products = numbers_per_second(
        [&] {
#pragma GCC unroll 12
            for (auto &sum : sums) sum = sum * factor + term;
        },
        20'000'000, CHAINS);
    for (auto &sum : sums) hide(sum);
    return 2.0 * products;
}

double tanh_per_second() { return activations_per_second<Tanh>(); }
double rational_tanh_per_second() { return activations_per_second<RationalTanh>(); }
double softsign_per_second() { return activations_per_second<Softsign>(); }
}
