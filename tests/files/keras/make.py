"""Makes the files of this folder. It needs Keras, in an environment of its own; the tests do not.

    pip install tensorflow-cpu tf-keras
    python make.py keras        # Keras 3: keras3.zip
    python make.py tf_keras     # Keras 2: keras2.zip

Each function below is a model. It is saved as .keras and as .h5, with random weights. answers.npz has inputs of several
lengths and what Keras answers to them. HDF5 files are mostly zeros, so one archive holds them all.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import tempfile
import zipfile
from pathlib import Path

os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
import numpy as np

logging.disable()
K = importlib.import_module(sys.argv[1])
L = K.layers
IS_3 = K.__version__.startswith("3")
ARCHIVE = Path(__file__).with_name("keras3.zip" if IS_3 else "keras2.zip")


def sequence(features=3):
    return L.Input((None, features))


def lstm():
    return K.Sequential([sequence(), L.LSTM(5, return_sequences=True), L.Dense(4, activation="softmax")])


def lstm_stack():
    layers = [L.LSTM(4, return_sequences=True, dropout=0.1), L.Dropout(0.2), L.LSTM(3, stateful=False, use_bias=False)]
    return K.Sequential([sequence(), *layers, L.Dense(2, activation="sigmoid")])


def gru_after():
    return K.Sequential([sequence(), L.GRU(4, return_sequences=True), L.GRU(3)])


def gru_before():
    layers = [L.GRU(4, return_sequences=True, reset_after=False), L.GRU(3, use_bias=False), L.Dense(2)]
    return K.Sequential([sequence(), *layers])


def simple_rnn():
    layers = [L.SimpleRNN(4, return_sequences=True), L.SimpleRNN(3, activation="relu")]
    return K.Sequential([sequence(), *layers])


def bidirectional():
    lstm = L.Bidirectional(L.LSTM(3, return_sequences=True))
    return K.Sequential([sequence(), lstm, L.Bidirectional(L.GRU(2)), L.Dense(2)])


def bidirectional_merged():
    x = sequence()
    ends = [L.Bidirectional(L.GRU(2, return_sequences=True), merge_mode=mode)(x) for mode in ("sum", "mul", "ave")]
    ends.append(L.Bidirectional(L.LSTM(2, return_sequences=True), merge_mode="sum")(x))
    return K.Model(x, L.Concatenate()(ends))


def hard_gates():
    gates = {"recurrent_activation": "hard_sigmoid"}
    layers = [L.LSTM(4, return_sequences=True, **gates), L.GRU(3, activation="relu", return_sequences=True, **gates)]
    return K.Sequential([sequence(), *layers, L.Dense(2, activation="hard_sigmoid")])


def tcn():
    inputs = x = sequence()
    for dilation in (1, 2, 4):
        y = L.Conv1D(4, 3, padding="causal", dilation_rate=dilation)(x)
        y = L.BatchNormalization()(y)
        gate = L.Activation("sigmoid")(L.Conv1D(4, 1)(y))
        y = L.Multiply()([L.SpatialDropout1D(0.1)(L.ReLU()(y)), gate])
        x = L.Add()([y, L.Conv1D(4, 1)(x) if dilation == 1 else x])
    return K.Model(inputs, L.Dense(2)(x))


def conv_same():
    layers = [L.Conv1D(4, 4, padding="same", activation="relu"), L.Conv1D(3, 3, padding="same", dilation_rate=2)]
    layers += [L.MaxPooling1D(3, 1, "same"), L.AveragePooling1D(4, 1, "same")]
    return K.Sequential([sequence(), *layers])


def conv_strided():
    layers = [L.Conv1D(4, 4, strides=2, padding="same"), L.MaxPooling1D(3, 2, "same"), L.AveragePooling1D(2, 2, "same")]
    return K.Sequential([sequence(), *layers, L.GlobalAveragePooling1D(), L.Dense(2)])


def conv_valid():
    layers = [L.Conv1D(4, 3, activation="tanh"), L.MaxPooling1D(2), L.Conv1D(3, 2, strides=2, padding="causal")]
    return K.Sequential([sequence(), *layers, L.AveragePooling1D(2, 1)])


def conv_groups():
    layers = [L.Conv1D(4, 3, padding="causal", groups=2), L.DepthwiseConv1D(3, padding="same", depth_multiplier=2)]
    layers += [L.SeparableConv1D(5, 3, depth_multiplier=2, activation="elu")]
    return K.Sequential([sequence(4), *layers])


def normalized():
    layers = [L.Normalization(mean=[500.0, -2.0, 0.1], variance=[4.0, 0.3, 1e-4]), L.LayerNormalization()]
    layers += [
        L.Rescaling(0.5, 0.25),
        L.BatchNormalization(scale=False),
        L.Dense(4),
        L.LayerNormalization(center=False),
    ]
    return K.Sequential([sequence(), *layers, L.BatchNormalization(epsilon=0.01, center=False)])


def norms():
    x = L.Input((None, 6, 4))
    images = [L.GroupNormalization(2), L.Conv1D(6, 3), L.GroupNormalization(-1, epsilon=0.1, center=False)]
    y = x
    for layer in [
        *images,
        L.Flatten(),
        L.Dense(6),
        L.GroupNormalization(3, epsilon=0.1, scale=False),
        L.UnitNormalization(),
    ]:
        y = L.TimeDistributed(layer)(y)
    return K.Model(x, L.RMSNormalization(epsilon=0.01)(L.GRU(3, return_sequences=True)(y)))


def tokens():
    return K.Sequential([L.Input((None,)), L.Embedding(11, 4), L.GRU(3, return_sequences=True), L.Dense(5)])


def masked_tokens():
    embedding = L.Embedding(11, 4, mask_zero=True)
    layers = [embedding, L.LSTM(3, return_sequences=True), L.Bidirectional(L.GRU(2))]
    return K.Sequential([L.Input((None,)), *layers, L.Dense(2, activation="softmax")])


def masked():
    x = sequence()
    y = L.GRU(4, return_sequences=True)(L.Masking(-1.0)(x))
    pooled = L.GlobalAveragePooling1D()(y)
    return K.Model(x, [L.LSTM(3)(y), pooled, L.TimeDistributed(L.Dense(2, activation="tanh"))(y)])


def images():
    steps = [L.Conv2D(3, 3, activation="relu"), L.MaxPooling2D(2), L.Conv2D(2, 2, padding="same"), L.Flatten()]
    x = L.Input((None, 7, 6, 2))
    y = x
    for layer in steps:
        y = L.TimeDistributed(layer)(y)
    return K.Model(x, L.LSTM(3, return_sequences=True)(y))


def windows_of_steps():
    frames = [L.Conv1D(3, 2, activation="relu"), L.BatchNormalization(), L.MaxPooling1D(2), L.Dropout(0.5), L.Flatten()]
    x = [L.Input((None, 6, 2)), *(L.TimeDistributed(layer) for layer in frames), L.LSTM(3)]
    return K.Sequential(x)


def activations():
    x = sequence()
    names = ["elu", "gelu", "swish", "selu", "hard_sigmoid", "relu", "tanh", "linear"]
    ends = [L.Activation(name)(L.Dense(2)(x)) for name in names]
    slope = {"negative_slope": 0.2} if IS_3 else {"alpha": 0.2}
    ends += [L.LeakyReLU(**slope)(x), L.ELU(0.7)(x), L.ReLU(max_value=6.0)(L.Dense(3)(x)), L.Softmax()(x)]
    ends += [L.LeakyReLU()(x), L.ReLU(negative_slope=0.1)(x)]
    return K.Model(x, L.Concatenate()(ends))


def heads():
    x = sequence()
    y, h, _ = L.LSTM(4, return_sequences=True, return_state=True, name="encoder")(x)
    label = L.Dense(2, activation="softmax", name="label")(h)
    level = L.Dense(1, name="level")(L.Concatenate()([x, y]))
    return K.Model(x, [label, level])


def chomped():
    x = sequence()
    y = L.Cropping1D((0, 2))(L.Conv1D(4, 3)(L.ZeroPadding1D(2)(x)))
    return K.Model(x, L.Average()([y, L.Maximum()([L.Dense(4)(x), L.Subtract()([y, L.Dense(4)(x)])])]))


def reshaped():
    x = sequence(6)
    y = L.Permute((2, 1))(L.Permute((2, 1))(x))
    y = L.TimeDistributed(L.Flatten())(L.TimeDistributed(L.Permute((2, 1)))(L.Reshape((-1, 2, 3))(y)))
    y = L.GlobalMaxPooling1D()(L.Dense(4)(y))
    return K.Model(x, L.Reshape((2, 2))(L.Flatten()(y)))


def nested():
    inner = K.Sequential([L.Input((None, 3)), L.Conv1D(4, 2, padding="causal"), L.BatchNormalization()], name="inner")
    step = K.Sequential([L.Input((4,)), L.Dense(3, activation="relu"), L.BatchNormalization()], name="step")
    x = sequence()
    return K.Model(x, L.LSTM(2, return_sequences=True)(L.TimeDistributed(step)(inner(x))))


def cells():
    layers = [L.RNN(L.LSTMCell(3), return_sequences=True), L.RNN(L.GRUCell(2), return_sequences=True)]
    return K.Sequential([sequence(), *layers, L.RNN(L.SimpleRNNCell(2))])


def spectrogram():
    layers = [L.Conv2D(3, (3, 2), strides=(2, 1), activation="relu"), L.MaxPooling2D((1, 2)), L.BatchNormalization()]
    return K.Sequential([L.Input((None, 5, 1)), *layers, L.Reshape((-1, 6)), L.GRU(3)])


def adapted():
    layer = L.Normalization()
    layer.adapt(np.random.default_rng(0).normal([3.0, -1.0, 100.0], [0.5, 2.0, 0.1], (40, 9, 3)).astype("f"))
    return K.Sequential([sequence(), layer, L.Dense(4, activation=L.LeakyReLU()), L.LSTM(2)])


def final_states():
    x = sequence()
    ahead, back = L.Bidirectional(L.GRU(2, return_sequences=True), merge_mode=None)(x)
    y, *states = L.Bidirectional(L.LSTM(2, return_state=True))(L.Concatenate()([ahead, back]))
    return K.Model(x, L.Concatenate()([y, states[0], states[2]]))


def fixed_length():
    x = L.Input((12, 4))
    y = L.TimeDistributed(L.Flatten())(L.TimeDistributed(L.Conv1D(3, 2, padding="causal"))(L.Reshape((12, 2, 2))(x)))
    return K.Model(x, L.GlobalAveragePooling1D(keepdims=True)(L.LSTM(3, return_sequences=True)(y)))


def image_means():
    x = L.Input((None, 5, 4, 2))
    y = L.TimeDistributed(L.Conv2D(3, 3, strides=2, padding="same"))(x)
    ends = [L.TimeDistributed(L.GlobalAveragePooling2D())(y), L.TimeDistributed(L.GlobalMaxPooling2D())(y)]
    ends += [L.TimeDistributed(L.Flatten())(L.TimeDistributed(L.AveragePooling2D(2, 1, "same"))(y))]
    return K.Model(x, L.GRU(2, return_sequences=True)(L.Concatenate()(ends)))


def spectrogram_mean():
    layers = [L.Conv2D(3, 3, padding="same"), L.AveragePooling2D((2, 1)), L.GlobalAveragePooling2D(), L.Dense(2)]
    return K.Sequential([L.Input((None, 5, 2)), *layers])


MODELS = [lstm, lstm_stack, gru_after, gru_before, simple_rnn, bidirectional, bidirectional_merged, hard_gates, tcn]
MODELS += [conv_same, conv_strided, conv_valid, conv_groups, normalized, tokens, masked_tokens, masked, images]
MODELS += [
    adapted,
    final_states,
    fixed_length,
    image_means,
    spectrogram_mean,
    windows_of_steps,
    activations,
    heads,
    chomped,
    reshaped,
    nested,
    cells,
    spectrogram,
]
MODELS += [norms] if IS_3 else []  # Keras 2 has no RMSNormalization


def with_random_weights(model, rng):
    """Random and distinct numbers: with those of a new model some mistakes do not show."""
    adapted = [id(weight) for layer in model.layers if isinstance(layer, L.Normalization) for weight in layer.weights]
    for weight in model.weights:
        name = getattr(weight, "path", weight.name)
        if "seed" in name or id(weight) in adapted:
            continue
        numbers = rng.uniform(-1, 1, weight.shape)
        if "variance" in name:
            numbers = 1.5 + numbers
        elif len(weight.shape) > 1:
            numbers *= 1.5 / np.sqrt(np.prod(weight.shape[:-1]))
        weight.assign(numbers.astype("f"))
    return model


def inputs(model, rng):
    """Batches of two and one sequences; where the model masks, the second sequence is padded."""
    shape, first = model.input_shape, model.layers[1] if isinstance(model.layers[0], L.InputLayer) else model.layers[0]
    for rows, steps in ((2, shape[1] or 23), (1, 12)):
        if isinstance(first, L.Embedding):
            x = rng.integers(1, 11, (rows, steps)).astype("i4")
        else:
            x = rng.normal(size=(rows, steps, *shape[2:])).astype("f")
        if isinstance(first, L.Normalization):
            mean, variance = (np.asarray(getattr(first, name)) for name in ("mean", "variance"))
            x = (x * np.sqrt(variance) + mean).astype("f").reshape(x.shape)
        if getattr(first, "mask_zero", False) or isinstance(first, L.Masking):
            x[1:, 17:] = getattr(first, "mask_value", 0)
        yield x


def main():
    answers = {}
    with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(ARCHIVE, "w", zipfile.ZIP_LZMA) as archive:
        folder = Path(name)
        for number, make in enumerate(MODELS):
            K.backend.clear_session()
            rng = np.random.default_rng(number)
            model = with_random_weights(make(), rng)
            for suffix in ("keras", "h5"):
                model.save(folder / f"{make.__name__}.{suffix}")
            for batch, x in enumerate(inputs(model, rng)):
                found = model(x, training=False)
                answers[f"{make.__name__}.{batch}.x"] = x
                for i, y in enumerate(found if isinstance(found, list | tuple) else [found]):
                    answers[f"{make.__name__}.{batch}.y{i}"] = np.asarray(y)
        np.savez(folder / "answers.npz", **answers)
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)


main()
