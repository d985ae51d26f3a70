// Activations: each with its value and its slope.
//
// Those that are a fraction of polynomials say so: fractions are added with one division for several, which takes as long as
// six to twenty products. A denominator is at least 1.
#pragma once

#include <cmath>

#include "vectors.h"

struct Fraction {
    Floats numerator, denominator;
};

INLINE Fraction operator+(Fraction a, Fraction b) {
    return {a.numerator * b.denominator + b.numerator * a.denominator, a.denominator * b.denominator};
}

INLINE Fraction operator*(Fraction a, float factor) { return {a.numerator * factor, a.denominator}; }

INLINE Floats value(Fraction a) { return a.numerator / a.denominator; }

// term(first) + ... + term(first + COUNT - 1), which are fractions, as one: halves are added first.
template <int COUNT, class Term> INLINE Fraction sum_of(const Term &term, int first) {
    if constexpr (COUNT == 1)
        return term(first);
    else
        return sum_of<COUNT / 2>(term, first) + sum_of<COUNT - COUNT / 2>(term, first + COUNT / 2);
}

// The value of that sum, with a division for MOST of them.
template <int COUNT, int MOST, class Term> INLINE Floats sum_of_fractions(const Term &term, int first) {
    constexpr int WHOLE = COUNT / MOST * MOST;
    Floats sum = all(0.0f);
#pragma GCC unroll 1
    for (int i = first; i < first + WHOLE; i += MOST) sum += value(sum_of<MOST>(term, i));
    if constexpr (COUNT > WHOLE) sum += value(sum_of<COUNT - WHOLE>(term, first + WHOLE));
    return sum;
}

// LARGEST_SHARED is the largest argument with which ten may share a division.
template <class Derived> struct Rational {
    static constexpr bool IS_FRACTION = true;
    INLINE Floats of(Floats x) { return value(Derived::fraction(x)); }
};

// x P(x^2) / Q(x^2) on [-9.01, 9.01], beyond which tanh rounds to +-1. P and Q minimise the largest relative error,
// 2.1e-8, by iteratively reweighted least squares; with the rounding of floats it is below 5e-7.
struct Tanh : Rational<Tanh> {
    INLINE Floats of(Floats x) { return clamped(value(fraction(x)), 1.0f); }
    INLINE Fraction fraction(Floats x) {
        x = clamped(x, 9.01f);
        Floats t = x * x;
        return {x * polynomial(t, {0.9999999792310424f, 0.13380372079851918f, 0.0034948116297592517f,
                                   2.0596283115470298e-05f, 1.333685968524414e-08f}),
                polynomial(t, {1.0f, 0.46713687496052997f, 0.025874028950354424f, 0.00032843641654500496f,
                               7.769288017287579e-07f})};
    }
    // sech^2 = 4 e / (1 + e)^2, e = exp(-2 |x|): 1 - y^2 would leave the rounding of y where a unit is saturated, and all
    // such units' would point the same way. Beyond the clamp it is 0, as where tanh has rounded to 1.
    INLINE Floats slope(Floats x) {
        Floats e = exponential(-2.0f * absolute(x)), rest = 1.0f + e;
        return absolute(x) > 9.01f ? all(0.0f) : 4.0f * e / (rest * rest);
    }
    static constexpr float LARGEST_SHARED = INFINITY;
};

// The same with fewer terms on [-5, 5], and constant beyond: |error| < 1e-4.
struct RationalTanh : Rational<RationalTanh> {
    static constexpr float P0 = 0.9999480498731698f, P1 = 0.10241767698365173f, P2 = 0.0006705650150612947f;
    static constexpr float Q1 = 0.4354324730271376f, Q2 = 0.012819882965705366f;
    INLINE Fraction fraction(Floats x) {
        x = clamped(x, 5.0f);
        Floats t = x * x;
        return {x * polynomial(t, {P0, P1, P2}), polynomial(t, {1.0f, Q1, Q2})};
    }
    // (x P / Q)' = ((P + 2 t P') Q - 2 t P Q') / Q^2
    INLINE Floats slope(Floats x) {
        Floats t = x * x, p = polynomial(t, {P0, P1, P2}), q = polynomial(t, {1.0f, Q1, Q2});
        Floats inside = ((p + 2.0f * t * (P1 + 2.0f * P2 * t)) * q - 2.0f * t * p * (Q1 + 2.0f * Q2 * t)) / (q * q);
        return absolute(x) > 5.0f ? all(0.0f) : inside;
    }
    static constexpr float LARGEST_SHARED = INFINITY;
};

struct Softsign : Rational<Softsign> {
    INLINE Fraction fraction(Floats x) { return {x, absolute(x) + 1.0f}; }
    INLINE Floats slope(Floats x) {
        Floats d = absolute(x) + 1.0f;
        return 1.0f / (d * d);
    }
    static constexpr float LARGEST_SHARED = 4e3f;  // (1 + 4000)^10 is still a number
};

struct NoFraction {
    static constexpr bool IS_FRACTION = false;
    static constexpr float LARGEST_SHARED = 0.0f;
    static Fraction fraction(Floats x);  // there is none, and nothing asks for it
};

struct Sigmoid : NoFraction {
    INLINE Floats of(Floats x) { return 1.0f / (1.0f + exponential(-x)); }
    INLINE Floats slope(Floats x) {
        Floats y = of(x);
        return y * (1.0f - y);
    }
};

struct Silu : NoFraction {
    INLINE Floats of(Floats x) { return x * Sigmoid::of(x); }
    INLINE Floats slope(Floats x) {
        Floats s = Sigmoid::of(x);
        return s * (1.0f + x * (1.0f - s));
    }
};

struct Softplus : NoFraction {
    // max(x, 0) + log(1 + e), e = exp(-|x|); log(1 + e) as e log(u) / (u - 1), u = 1 + e, in which roundings cancel.
    INLINE Floats of(Floats x) {
        Floats e = exponential(-absolute(x)), u = 1.0f + e, rest = u - 1.0f;
        Floats log1p = rest == 0.0f ? e : logarithm(u) * (e / rest);
        return at_least(x, all(0.0f)) + log1p;
    }
    INLINE Floats slope(Floats x) { return Sigmoid::of(x); }
};

template <int PER_MILLE> struct Rectifier : NoFraction {  // slope below 0, in thousandths
    INLINE Floats of(Floats x) {
        if constexpr (PER_MILLE == 0) return at_least(x, all(0.0f));
        return x > 0.0f ? x : x * (PER_MILLE / 1000.0f);
    }
    INLINE Floats slope(Floats x) { return x > 0.0f ? all(1.0f) : all(PER_MILLE / 1000.0f); }
};
typedef Rectifier<0> Relu;
typedef Rectifier<10> LeakyRelu;
