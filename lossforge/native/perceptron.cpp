// Losses of the form sum_k f(first, second_k) over classes k, f a perceptron of two inputs: values, gradients in the
// logits, and pairwise comparisons, of many candidates on one batch.
//
// Vectors run over pairs. A tile is PAIRS pairs whose features lie class by class, the pair's own class first; it is made
// once and read by every candidate, so that nothing of the size candidates x pairs x classes x units is ever in memory.
//
// Compiled for one family and number of classes:
//   ACTIVATION   a struct of activations.h
//   WIDTHS       widths of the hidden layers, separated by commas
//   HAS_BIAS     1 or 0
//   NUM_CLASSES  C
//   COMPARES     1: f(phi(own), phi(rival)), mean over rivals; 0: f(phi(class), is it the label), sum over classes
//   LOG_FEATURES 1: phi = -log p / scale; 0: phi = p
//
// Solutions list, layer by layer, weights (out, in) row by row and then biases; the output layer has no bias.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "activations.h"

namespace {

typedef ACTIVATION Activation;
constexpr int HIDDEN[] = {WIDTHS};
constexpr int NUM_HIDDEN = sizeof(HIDDEN) / sizeof(HIDDEN[0]);
constexpr int C = NUM_CLASSES, RIVALS = C - 1;
// Vectors of a tile, independent chains for every weight that is loaded. With one hidden layer there are registers for
// four; with more, for the sums of two.
constexpr int VECTORS = NUM_HIDDEN == 1 ? 4 : 2;
constexpr int PAIRS = VECTORS * LANES;
constexpr int OUTPUTS = 8;  // of a layer at a time: OUTPUTS x VECTORS sums stay in registers

constexpr int widest() {
    int width = 0;
    for (int each : HIDDEN) width = each > width ? each : width;
    return width;
}

constexpr int layer_size(int layer) {
    return HIDDEN[layer] * ((layer ? HIDDEN[layer - 1] : 2) + (HAS_BIAS ? 1 : 0));
}

// Where a layer's numbers begin in a solution; that of layer NUM_HIDDEN is the output layer.
constexpr int layer_start(int layer) { return layer ? layer_start(layer - 1) + layer_size(layer - 1) : 0; }

constexpr int NUM_PARAMETERS = layer_start(NUM_HIDDEN) + HIDDEN[NUM_HIDDEN - 1];

typedef Floats Values[VECTORS];

struct Tile {
    Values phi[C];  // own class first, then (label + k) mod C
};

struct Slopes {
    Values by_class[C];  // d loss / d phi, in the tile's order
};

// ---- A perceptron's first layer ------------------------------------------------------------------------------------

// z_h = rival * slope + base for one hidden unit: what does not change from rival to rival is worked out once.
struct FirstLayer {
    const float *weights, *biases;

    explicit FirstLayer(const float *solution) : weights(solution), biases(solution + 2 * HIDDEN[0]) {}

    float bias(int unit) const { return HAS_BIAS ? biases[unit] : 0.0f; }
    float slope(int unit) const { return weights[2 * unit + (COMPARES ? 1 : 0)]; }

    Floats base(int unit, Floats own) const {
        return COMPARES ? own * weights[2 * unit] + bias(unit) : all(bias(unit));
    }

    // Of the item that is the label itself; there is one only where classes are not compared.
    float own_base(int unit) const { return weights[2 * unit + 1] + bias(unit); }

    float largest(int unit, float largest_phi) const {
        return (std::fabs(weights[2 * unit]) + (COMPARES ? std::fabs(weights[2 * unit + 1]) : 0.0f)) * largest_phi +
               std::fabs(weights[2 * unit + 1]) + std::fabs(bias(unit));
    }
};

constexpr int FIRST_ITEM = COMPARES ? 1 : 0;  // items are classes, or rivals alone
constexpr int ITEMS = C - FIRST_ITEM;

INLINE Floats item_base(const FirstLayer &layer, int unit, int item, Floats base) {
    return item == 0 ? all(layer.own_base(unit)) : base;
}

// ---- One hidden layer: units outside, classes inside, so that a unit's output weight is applied once ----------------

constexpr int ITEMS_A_DIVISION = 10;

template <bool SHARES> INLINE Floats unit_sum(const FirstLayer &layer, int unit, const Tile &tile, int vector) {
    const Floats slope = all(layer.slope(unit)), base = layer.base(unit, tile.phi[0][vector]);
    const auto argument = [&](int item) {
        return tile.phi[item][vector] * slope + item_base(layer, unit, item, base);
    };
    if constexpr (SHARES && ITEMS > 1) {
        const auto term = [&](int item) { return Activation::fraction(argument(item)); };
        return sum_of_fractions<ITEMS, ITEMS_A_DIVISION>(term, FIRST_ITEM);
    } else {
        Floats sum = all(0.0f);
#pragma GCC unroll 16
        for (int item = FIRST_ITEM; item < C; item++) sum += Activation::of(argument(item));
        return sum;
    }
}

template <bool SHARES> INLINE void shallow_losses(const float *solution, const Tile &tile, Values &loss) {
    const FirstLayer layer(solution);
    const float *output = solution + layer_start(1);
    for (int unit = 0; unit < HIDDEN[0]; unit++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) loss[v] += unit_sum<SHARES>(layer, unit, tile, v) * output[unit];
}

// ---- Any number of hidden layers: one class at a time, products of a layer in registers ------------------------------

// out[o] = sum_i weights[o][i] in[i] + bias[o] for COUNT outputs.
template <int COUNT, int INPUTS>
INLINE void products(const float *weights, const float *biases, const Values *in, Values *out) {
    Values sums[COUNT];
#pragma GCC unroll 8
    for (int o = 0; o < COUNT; o++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) sums[o][v] = all(HAS_BIAS ? biases[o] : 0.0f);
    for (int i = 0; i < INPUTS; i++)
#pragma GCC unroll 8
        for (int o = 0; o < COUNT; o++)
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++) sums[o][v] += in[i][v] * weights[o * INPUTS + i];
#pragma GCC unroll 8
    for (int o = 0; o < COUNT; o++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) out[o][v] = sums[o][v];
}

template <int LAYER> INLINE void dense(const float *solution, const Values *in, Values *out) {
    constexpr int INPUTS = HIDDEN[LAYER - 1], OUT = HIDDEN[LAYER], WHOLE = OUT / OUTPUTS * OUTPUTS;
    const float *weights = solution + layer_start(LAYER), *biases = weights + INPUTS * OUT;
    for (int o = 0; o < WHOLE; o += OUTPUTS)
        products<OUTPUTS, INPUTS>(weights + o * INPUTS, biases + o, in, out + o);
    if constexpr (OUT > WHOLE) products<OUT - WHOLE, INPUTS>(weights + WHOLE * INPUTS, biases + WHOLE, in, out + WHOLE);
}

// Arguments and values of the hidden units of one item.
struct Trace {
    Values arguments[NUM_HIDDEN][widest()], values[NUM_HIDDEN][widest()];
};

template <int LAYER> INLINE void activate(Trace &trace) {
    for (int unit = 0; unit < HIDDEN[LAYER]; unit++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            trace.values[LAYER][unit][v] = Activation::of(trace.arguments[LAYER][unit][v]);
}

constexpr int LAST = NUM_HIDDEN - 1;

// The arguments of layers beyond LAYER, and the values of all but the last.
template <int LAYER> INLINE void layers_after(const float *solution, Trace &trace) {
    if constexpr (LAYER < LAST) {
        activate<LAYER>(trace);
        dense<LAYER + 1>(solution, trace.values[LAYER], trace.arguments[LAYER + 1]);
        layers_after<LAYER + 1>(solution, trace);
    }
}

INLINE void forward(const float *solution, const Tile &tile, int item, Trace &trace) {
    const FirstLayer layer(solution);
    for (int unit = 0; unit < HIDDEN[0]; unit++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) {
            Floats base = item_base(layer, unit, item, layer.base(unit, tile.phi[0][v]));
            trace.arguments[0][unit][v] = tile.phi[item][v] * layer.slope(unit) + base;
        }
    layers_after<0>(solution, trace);
}

constexpr int UNITS_A_DIVISION = 8;
constexpr float LARGEST_WEIGHT_SHARED = 1e8f;

template <bool SHARES> INLINE void deep_losses(const float *solution, const Tile &tile, Values &loss) {
    const float *output = solution + layer_start(NUM_HIDDEN);
    Trace trace;
    for (int item = FIRST_ITEM; item < C; item++) {
        forward(solution, tile, item, trace);
        Values of_item = {};  // summed by itself: fewer roundings of large sums
        if constexpr (SHARES) {
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++) {
                const auto term = [&](int unit) {
                    return Activation::fraction(trace.arguments[LAST][unit][v]) * output[unit];
                };
                of_item[v] = sum_of_fractions<HIDDEN[LAST], UNITS_A_DIVISION>(term, 0);
            }
        } else {
            activate<LAST>(trace);
            for (int unit = 0; unit < HIDDEN[LAST]; unit++)
#pragma GCC unroll 4
                for (int v = 0; v < VECTORS; v++) of_item[v] += trace.values[LAST][unit][v] * output[unit];
        }
        for (int v = 0; v < VECTORS; v++) loss[v] += of_item[v];
    }
}

// ---- Gradients: the layers in reverse, item by item --------------------------------------------------------------------

// delta[i] = act'(z_i) sum_o weights[o][i] delta'[o] for COUNT inputs of a layer.
template <int COUNT, int INPUTS, int OUT>
INLINE void products_back(const float *weights, const Values *deltas, const Values *arguments, Values *out) {
    Values sums[COUNT] = {};
    for (int o = 0; o < OUT; o++)
#pragma GCC unroll 8
        for (int i = 0; i < COUNT; i++)
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++) sums[i][v] += deltas[o][v] * weights[o * INPUTS + i];
#pragma GCC unroll 8
    for (int i = 0; i < COUNT; i++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) out[i][v] = sums[i][v] * Activation::slope(arguments[i][v]);
}

template <int LAYER> INLINE void earlier_layers(const float *solution, const Trace &trace, Values *deltas) {
    if constexpr (LAYER > 0) {
        constexpr int INPUTS = HIDDEN[LAYER - 1], OUT = HIDDEN[LAYER], WHOLE = INPUTS / OUTPUTS * OUTPUTS;
        const float *weights = solution + layer_start(LAYER);
        const Values *arguments = trace.arguments[LAYER - 1];
        Values below[INPUTS];
        for (int i = 0; i < WHOLE; i += OUTPUTS)
            products_back<OUTPUTS, INPUTS, OUT>(weights + i, deltas, arguments + i, below + i);
        if constexpr (INPUTS > WHOLE)
            products_back<INPUTS - WHOLE, INPUTS, OUT>(weights + WHOLE, deltas, arguments + WHOLE, below + WHOLE);
        std::memcpy(deltas, below, sizeof below);
        earlier_layers<LAYER - 1>(solution, trace, deltas);
    }
}

INLINE void slopes_of(const float *solution, const Tile &tile, Slopes &slopes) {
    const FirstLayer layer(solution);
    const float *output = solution + layer_start(NUM_HIDDEN);
    std::memset(&slopes, 0, sizeof slopes);
    Trace trace;
    Values deltas[widest()];
    for (int item = FIRST_ITEM; item < C; item++) {
        forward(solution, tile, item, trace);
        for (int unit = 0; unit < HIDDEN[LAST]; unit++)
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++)
                deltas[unit][v] = output[unit] * Activation::slope(trace.arguments[LAST][unit][v]);
        earlier_layers<LAST>(solution, trace, deltas);
        for (int unit = 0; unit < HIDDEN[0]; unit++)
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++) {
                slopes.by_class[item][v] += deltas[unit][v] * layer.slope(unit);
                if (COMPARES) slopes.by_class[0][v] += deltas[unit][v] * layer.weights[2 * unit];
            }
    }
}

// ---- Tiles -------------------------------------------------------------------------------------------------------------

constexpr float SHARE = COMPARES ? 1.0f / RIVALS : 1.0f;  // of an item in the loss

typedef float Columns[C][PAIRS];  // a number for each class and pair of a tile

// The largest size in vectors; infinite where one is not a number.
struct Largest {
    Floats top = {};
    Ints finite = ~Ints{};

    void take(Floats x) {
        top = at_least(absolute(x), top);
        finite &= absolute(x) < INFINITY;
    }

    float value() const {
        float result = 0.0f;
        for (int lane = 0; lane < LANES; lane++) result = std::max(result, finite[lane] ? top[lane] : INFINITY);
        return result;
    }
};

struct Tiles {
    long num_pairs;
    float largest;  // of |phi|; infinite where one is not a number
    std::unique_ptr<Tile[]> tiles;
    std::unique_ptr<Slopes[]> probabilities;  // of every class, where gradients need them
    std::unique_ptr<Columns[]> scratch;       // not on the stack: those of threads may be small

    Tiles(long num_pairs, bool for_gradients)
        : num_pairs(num_pairs),
          tiles(new Tile[count()]),
          probabilities(for_gradients ? new Slopes[count()] : nullptr),
          scratch(new Columns[1]) {}

    long count() const { return (num_pairs + PAIRS - 1) / PAIRS; }

    // Take in log-probabilities, or where gradients are wanted logits, in rows of C.
    void fill(const float *rows, const int64_t *labels, float scale) {
        Largest seen;
        for (long t = 0; t < count(); t++) {
            Columns &columns = scratch[0];
            for (int i = 0; i < PAIRS; i++) {
                const long pair = std::min(t * PAIRS + i, num_pairs - 1);  // the last one fills the last tile up
                long k = labels[pair];
                for (int c = 0; c < C; c++, k = k + 1 == C ? 0 : k + 1) columns[c][i] = rows[pair * C + k];
            }
            for (int v = 0; v < VECTORS; v++) fill_vector(tiles[t], t, columns, v, scale, seen);
        }
        largest = seen.value();
    }

  private:
    void fill_vector(Tile &tile, long t, const Columns &columns, int v, float scale, Largest &seen) {
        Floats log_sum = all(0.0f);
        if (probabilities) {
            Floats top = load(columns[0] + v * LANES), sum = all(0.0f);
            for (int c = 1; c < C; c++) top = at_least(load(columns[c] + v * LANES), top);
            for (int c = 0; c < C; c++) sum += exponential(load(columns[c] + v * LANES) - top);
            log_sum = top + logarithm(sum);
        }
        for (int c = 0; c < C; c++) {
            Floats log_p = load(columns[c] + v * LANES) - log_sum;
            if (probabilities) probabilities[t].by_class[c][v] = exponential(log_p);
            tile.phi[c][v] = LOG_FEATURES ? -log_p / scale : probabilities ? probabilities[t].by_class[c][v]
                                                                           : exponential(log_p);
            seen.take(tile.phi[c][v]);
        }
    }
};

// ---- What is asked of a candidate ----------------------------------------------------------------------------------------

float sum_of_sizes(const float *numbers, int count) {
    Floats sums = all(0.0f);
    int i = 0;
    for (; i + LANES <= count; i += LANES) sums += absolute(load(numbers + i));
    float sum = 0.0f;
    for (int lane = 0; lane < LANES; lane++) sum += sums[lane];
    for (; i < count; i++) sum += std::fabs(numbers[i]);
    return sum;
}

// The largest size that an argument of the last layer can have: values of the layer before are 1 at most.
float largest_argument(const float *solution, float largest_phi) {
    float largest = 0.0f;
    const auto take = [&](float size) { largest = size <= largest ? largest : size == size ? size : INFINITY; };
    if constexpr (NUM_HIDDEN == 1) {
        for (int unit = 0; unit < HIDDEN[0]; unit++) take(FirstLayer(solution).largest(unit, largest_phi));
    } else {
        constexpr int INPUTS = HIDDEN[NUM_HIDDEN > 1 ? LAST - 1 : 0], OUT = HIDDEN[LAST];
        const float *weights = solution + layer_start(LAST), *biases = weights + INPUTS * OUT;
        for (int o = 0; o < OUT; o++)
            take(sum_of_sizes(weights + o * INPUTS, INPUTS) + (HAS_BIAS ? std::fabs(biases[o]) : 0.0f));
    }
    return largest;
}

// Whether fractions of a candidate may be added with one division: whether the products of as many denominators, numerators
// and, where there are layers, output weights are numbers.
bool may_share(const float *solution, float largest_phi) {
    bool may = true;
    if constexpr (NUM_HIDDEN > 1)
        for (int unit = 0; unit < HIDDEN[LAST]; unit++)
            may &= std::fabs(solution[layer_start(NUM_HIDDEN) + unit]) <= LARGEST_WEIGHT_SHARED;
    if constexpr (Activation::LARGEST_SHARED < INFINITY)
        may &= largest_argument(solution, largest_phi) <= Activation::LARGEST_SHARED;
    return may;
}

template <bool SHARES> void losses_of(const float *solution, const Tiles &tiles, float *out) {
    for (long t = 0; t < tiles.count(); t++) {
        Values loss = {};
        if constexpr (NUM_HIDDEN == 1)
            shallow_losses<SHARES>(solution, tiles.tiles[t], loss);
        else
            deep_losses<SHARES>(solution, tiles.tiles[t], loss);
        float row[PAIRS];
        for (int v = 0; v < VECTORS; v++) store(row + v * LANES, loss[v] * SHARE);
        std::memcpy(out + t * PAIRS, row, sizeof(float) * std::min<long>(PAIRS, tiles.num_pairs - t * PAIRS));
    }
}

void losses_of(const float *solution, const Tiles &tiles, float *out) {
    if (Activation::IS_FRACTION && may_share(solution, tiles.largest))
        losses_of<Activation::IS_FRACTION>(solution, tiles, out);
    else
        losses_of<false>(solution, tiles, out);
}

// dloss/dz_k = g_k - p_k sum_j g_j, with g_k = dloss/dlog p_k.
void gradients_of(const float *solution, const Tiles &tiles, const int64_t *labels, float scale, float *out) {
    const std::unique_ptr<Slopes> memory(new Slopes);
    const std::unique_ptr<Columns[]> scratch(new Columns[1]);
    Slopes &slopes = *memory;
    Columns &columns = scratch[0];
    for (long t = 0; t < tiles.count(); t++) {
        slopes_of(solution, tiles.tiles[t], slopes);
        for (int v = 0; v < VECTORS; v++) {
            Floats sum = all(0.0f);
            for (int c = 0; c < C; c++) {
                Floats p = tiles.probabilities[t].by_class[c][v];
                Floats &g = slopes.by_class[c][v];
                g = LOG_FEATURES ? g * (-SHARE / scale) : g * p * SHARE;
                sum += g;
            }
            for (int c = 0; c < C; c++)
                store(columns[c] + v * LANES, slopes.by_class[c][v] - tiles.probabilities[t].by_class[c][v] * sum);
        }
        const int count = std::min<long>(PAIRS, tiles.num_pairs - t * PAIRS);
        for (int i = 0; i < count; i++) {
            const long pair = t * PAIRS + i;
            long k = labels[pair];
            for (int c = 0; c < C; c++, k = k + 1 == C ? 0 : k + 1) out[pair * C + k] = columns[c][i];
        }
    }
}

bool all_finite(const float *loss, long num) {
    Ints finite = ~Ints{};
    long i = 0;
    for (; i + LANES <= num; i += LANES) finite &= absolute(load(loss + i)) < INFINITY;
    bool result = true;
    for (int lane = 0; lane < LANES; lane++) result &= finite[lane] != 0;
    for (; i < num; i++) result &= std::isfinite(loss[i]);
    return result;
}

long num_concordant(const float *loss, const int32_t *first, const float *sign, long begin, long end) {
    Ints counts = {};
    long i = begin, count = 0;
    for (; i + LANES <= end; i += LANES)
        counts -= (gathered(loss, first + i) - load(loss + i)) * load(sign + i) > 0.0f;  // true is -1
    for (int lane = 0; lane < LANES; lane++) count += counts[lane];
    for (; i < end; i++) count += (loss[first[i]] - loss[i]) * sign[i] > 0.0f;
    return count;
}

// Run a task on threads; return 0, or 1 where memory was exhausted. A task asks for one candidate after the other, by its
// number, until there is none (it is `num`): a thread that other work slows down takes fewer of them. A candidate's numbers
// do not depend on who works it out, nor on the others.
template <class Task> int for_candidates(long num, int num_threads, Task task) {
    std::atomic<long> next{0};
    std::atomic<int> failed{0};
    const auto part = [&] {
        try {
            task([&] { return std::min(next.fetch_add(1), num); });
        } catch (const std::bad_alloc &) {  // nothing may leave a thread, or a function that Python calls
            failed = 1;
        }
    };
    std::vector<std::thread> others;
    others.reserve(std::max(num_threads, 1));
    try {
        while ((int)others.size() + 1 < std::min<long>(num_threads, num)) others.emplace_back(part);
    } catch (const std::system_error &) {  // no more threads: those there are do it all
    }
    part();
    for (auto &other : others) other.join();
    return failed;
}

}  // namespace

extern "C" {

int num_parameters() { return NUM_PARAMETERS; }

// Every function returns 0, or 1 where memory was exhausted.

// losses (P, B); rows are log-probabilities (1 or P, B, C), `stride` floats from one candidate's to the next's.
int losses(const float *solutions, long num, const float *rows, long stride, const int64_t *labels, long num_pairs,
           float scale, int num_threads, float *out) try {
    Tiles shared(stride ? 0 : num_pairs, false);
    shared.fill(rows, labels, scale);
    return for_candidates(num, num_threads, [&](auto take) {
        Tiles own(stride ? num_pairs : 0, false);
        for (long p; (p = take()) < num;) {
            own.fill(rows + p * stride, labels, scale);
            losses_of(solutions + p * NUM_PARAMETERS, stride ? own : shared, out + p * num_pairs);
        }
    });
} catch (const std::bad_alloc &) {
    return 1;
}

// Derivatives (P, B, C) in the logits `rows`.
int gradients(const float *solutions, long num, const float *rows, long stride, const int64_t *labels, long num_pairs,
              float scale, int num_threads, float *out) try {
    Tiles shared(stride ? 0 : num_pairs, true);
    shared.fill(rows, labels, scale);
    return for_candidates(num, num_threads, [&](auto take) {
        Tiles own(stride ? num_pairs : 0, true);
        for (long p; (p = take()) < num;) {
            own.fill(rows + p * stride, labels, scale);
            gradients_of(solutions + p * NUM_PARAMETERS, stride ? own : shared, labels, scale, out + p * num_pairs * C);
        }
    });
} catch (const std::bad_alloc &) {
    return 1;
}

// Comparisons of losses, comparison i of pair first[i] with pair i: `counts` (P, cells) says in how many of a cell's the
// first exceeds the second where `sign` is 1, or the second the first where it is -1; comparison i belongs to the cell
// whose limits[cell] <= i < limits[cell + 1]. `is_finite` (P,) says whether the losses of all pairs are.
// All candidates share the rows.
int concordance(const float *solutions, long num, const float *rows, long, const int64_t *labels, long num_pairs,
                float scale, const int32_t *first, const float *sign, const int64_t *limits, long num_cells,
                int num_threads, int64_t *counts, uint8_t *is_finite) try {
    Tiles tiles(num_pairs, false);
    tiles.fill(rows, labels, scale);
    return for_candidates(num, num_threads, [&](auto take) {
        std::unique_ptr<float[]> loss(new float[num_pairs]);
        for (long p; (p = take()) < num;) {
            losses_of(solutions + p * NUM_PARAMETERS, tiles, loss.get());
            is_finite[p] = all_finite(loss.get(), num_pairs);
            for (long cell = 0; cell < num_cells; cell++)
                counts[p * num_cells + cell] = num_concordant(loss.get(), first, sign, limits[cell], limits[cell + 1]);
        }
    });
} catch (const std::bad_alloc &) {
    return 1;
}

}  // extern "C"
