// A network of RTNeural with random weights, for tools/bench_c.py: LAYERS has its types, COUNT their number.
#include <RTNeural/RTNeural.h>

#include <cmath>
#include <random>
#include <utility>
#include <vector>

using namespace RTNeural;
using Matrix = std::vector<std::vector<float>>;
using Network = ModelT<float, IN, OUT, LAYERS>;

static std::mt19937 generator(1);

static Matrix matrix(int rows, int columns) {
    const float most = std::sqrt(6.0f / static_cast<float>(rows + columns));
    std::uniform_real_distribution<float> draw(-most, most);
    Matrix made(rows, std::vector<float>(columns));
    for (auto &row : made) {
        for (auto &value : row) {
            value = draw(generator);
        }
    }
    return made;
}

template <typename T> static void fill(T &) {}

template <int I, int O, SampleRateCorrectionMode M, typename P> static void fill(LSTMLayerT<float, I, O, M, P> &layer) {
    layer.setWVals(matrix(I, 4 * O));
    layer.setUVals(matrix(O, 4 * O));
    layer.setBVals(std::vector<float>(4 * O, 0.1f));
}

template <int I, int O, SampleRateCorrectionMode M, typename P> static void fill(GRULayerT<float, I, O, M, P> &layer) {
    layer.setWVals(matrix(I, 3 * O));
    layer.setUVals(matrix(O, 3 * O));
    layer.setBVals(matrix(2, 3 * O));
}

template <int I, int O, bool B> static void fill(DenseT<float, I, O, B> &layer) {
    const std::vector<float> bias(O, 0.1f);
    layer.setWeights(matrix(O, I));
    layer.setBias(bias.data());
}

template <int I, int O, int K, int D, int G, bool S> static void fill(Conv1DT<float, I, O, K, D, G, S> &layer) {
    std::vector<Matrix> weights(O);
    for (auto &filter : weights) {
        filter = matrix(I, K);
    }
    layer.setWeights(weights);
    layer.setBias(std::vector<float>(O, 0.1f));
}

template <size_t... N> static Network *made(std::index_sequence<N...>) {
    auto *network = new Network;
    (fill(network->template get<N>()), ...);
    network->reset();
    return network;
}

extern "C" void run(int steps, const float *x, float *y) {
    static Network *network = made(std::make_index_sequence<COUNT>{});
    alignas(64) float step[IN + 16] = {};
    for (int i = 0; i < steps; ++i) {
        for (int k = 0; k < IN; ++k) {
            step[k] = x[(i & 63) * IN + k];
        }
        network->forward(step);
        for (int k = 0; k < OUT; ++k) {
            y[k] = network->getOutputs()[k];
        }
    }
}
