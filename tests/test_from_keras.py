"""from_keras: models that Keras saved are lifted exactly, without Keras, or refused with reason and remedy."""

from __future__ import annotations

import dataclasses
import shutil
import sys

import numpy as np
import pytest
import torch

import seq2onnx as s2o
from seq2onnx.importing import equivalence as proof
from seq2onnx.importing.keras import file as keras_file, recurrent as keras_recurrent, windows as keras_windows
from seq2onnx.importing.lifting import layout, operations as lifting, time_axis
from tests.keras_files import DENSE, LSTM, archive, call, functional, layer, lstm, sequential, start, weights, write

# Keras and torch calculate in float32 and sum in another order.
CLOSE = 1e-6

with archive("keras3") as file:
    NAMES = sorted({name.split(".")[0] for name in file.namelist()} - {"answers"})
ONLY_KERAS_3 = ("norms",)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder with the files of both generations of Keras."""
    folder = tmp_path_factory.mktemp("keras")
    for generation in ("keras2", "keras3"):
        with archive(generation) as file:
            file.extractall(folder / generation)
    return folder


@pytest.fixture(scope="module")
def answers(saved):
    """What each generation of Keras was given and answered."""
    found = {}
    for generation in ("keras2", "keras3"):
        with np.load(saved / generation / "answers.npz") as arrays:
            found[generation] = dict(arrays)
    return found


@pytest.fixture
def at_hand(monkeypatch):
    """Read files in this process: starting another one takes most of the time."""
    monkeypatch.setattr(keras_file, "read_apart", lambda reader, path, kind: keras_file.contents(path))


def difference(module, answers, name):
    """The largest difference from what Keras answered, over max(1, largest number)."""
    found = [0.0]
    for batch in (0, 1):
        x = answers[f"{name}.{batch}.x"]
        expected = [answers[key] for key in sorted(answers) if key.startswith(f"{name}.{batch}.y")]
        lengths = np.array([x.shape[1], 17][: len(x)]) if name.startswith("masked") else np.full(len(x), x.shape[1])
        x = x.astype(np.int64) if x.dtype.kind == "i" else np.moveaxis(x, -1, 2)  # channels first
        with torch.no_grad():
            y = module(torch.from_numpy(x), torch.from_numpy(lengths))[0]
        for ours, theirs in zip(y.values() if isinstance(y, dict) else [y], expected, strict=True):
            error = np.abs(ours.numpy() - theirs.reshape(ours.shape))
            if name.startswith("masked") and ours.ndim == 3:
                error[np.arange(error.shape[1]) >= lengths[:, None]] = 0
            found.append(error.max() / max(1, np.abs(theirs).max()))
    return max(found)


@pytest.mark.parametrize("name", NAMES)
def test_what_keras_saved_gives_what_keras_gave(name, saved, answers, at_hand, monkeypatch):
    found = {}
    for path in (f"keras3/{name}.keras", f"keras3/{name}.h5", f"keras2/{name}.keras", f"keras2/{name}.h5"):
        if name in ONLY_KERAS_3 and path.startswith("keras2"):
            continue
        module = s2o.from_keras(saved / path, masks="lengths")
        found[path] = difference(module, answers[path.split("/")[0]], name)
        monkeypatch.setattr(proof, "prove", lambda *_, **__: 0.0)  # once is enough: the answers of Keras say more
    assert max(found.values()) <= CLOSE, found


def test_from_a_file_to_a_stream_without_keras(saved, answers, tmp_path):
    module = s2o.from_keras(str(saved / "keras3/lstm.keras"))
    assert module.network.summary()
    s2o.export(module, tmp_path / "lstm.onnx")
    stream = s2o.load(tmp_path / "lstm.onnx").stream()
    y = [stream.step(x) for x in answers["keras3"]["lstm.0.x"][0]]
    np.testing.assert_allclose(y, answers["keras3"]["lstm.0.y0"][0], rtol=0, atol=CLOSE)
    assert not {"keras", "tf_keras", "tensorflow"} & set(sys.modules)


def test_a_model_in_memory_saves_itself(saved, at_hand):
    class Model:
        def save(self, path):
            shutil.copy(saved / "keras3/gru_after.keras", path)

    assert [type(one).__name__ for one in s2o.from_keras(Model()).network.layers] == ["SequenceInput", "GRU", "GRU"]


def test_outputs_have_the_names_of_their_layers(saved, at_hand):
    assert s2o.from_keras(saved / "keras3/heads.keras").network.outputs == ("label", "level")


def test_padding_of_masked_models_is_what_lengths_say(saved, at_hand):
    for name in ("masked", "masked_tokens"):
        with pytest.raises(s2o.ImportRefused, match=r'skips steps wherever they stand.*masks="lengths"'):
            s2o.from_keras(saved / f"keras3/{name}.keras")
    with pytest.raises(s2o.SpecError, match="masks"):
        s2o.from_keras(saved / "keras3/masked.keras", masks="zeros")
    with pytest.raises(s2o.SpecError, match="expected a path or a Keras model, got int"):
        s2o.from_keras(3)


def gates_swapped(monkeypatch):
    found = keras_recurrent._weights

    def swapped(one, features):
        arrays = found(one, features)
        order = np.arange(len(arrays["bias"])).reshape(-1, one.config["units"])
        order[[-1, -2]] = order[[-2, -1]]
        return arrays | {k: arrays[k][order.ravel()] for k in ("input_weights", "recurrent_weights", "bias")}

    monkeypatch.setattr(keras_recurrent, "_weights", swapped)


def reset_and_update_swapped(monkeypatch):
    found = keras_recurrent._weights

    def swapped(one, features):
        arrays, units = found(one, features), one.config["units"]
        order = np.r_[units : 2 * units, :units, 2 * units : 3 * units]
        return arrays | {k: arrays[k][order] for k in ("input_weights", "recurrent_weights", "bias")}

    monkeypatch.setattr(keras_recurrent, "_weights", swapped)


def recurrent_bias_dropped(monkeypatch):
    found = keras_recurrent._weights

    def dropped(one, features):
        arrays = found(one, features)
        return arrays | {"recurrent_bias": 0 * arrays["recurrent_bias"]}

    monkeypatch.setattr(keras_recurrent, "_weights", dropped)


def reset_after_taken_for_before(monkeypatch):
    found = keras_recurrent._layer

    def after(one):
        made = found(one)
        before = made.reset_gate_mode == "before_multiplication"
        return dataclasses.replace(made, reset_gate_mode="after_multiplication") if before else made

    monkeypatch.setattr(keras_recurrent, "_layer", after)


def hard_sigmoid_of_the_other_keras(monkeypatch):
    monkeypatch.setattr(keras_recurrent, "HARD_SIGMOID", {2: "hard_sigmoid_6", 3: "hard_sigmoid"})


def epsilon_of_torch(monkeypatch):
    found = lifting.batch_norm
    monkeypatch.setattr(lifting, "batch_norm", lambda x, axis, arrays, _, m: found(x, axis, arrays, 1e-5, m))


def layer_norm_epsilon_of_torch(monkeypatch):
    found = lifting.layer_norm
    monkeypatch.setattr(lifting, "layer_norm", lambda x, n, scale, offset, _: found(x, n, scale, offset, 1e-5))


def last_step_for_final_state(monkeypatch):
    found = keras_recurrent.recurrent

    def last(x, *arguments):
        y, _, *others = found(x, *arguments)
        end = time_axis.last_step(y, 1)
        halves = layout.reshape(end, (end.shape[0], 2, end.shape[1] // 2))
        return [y, layout.transpose(halves, [1, 0, 2]), *others]

    monkeypatch.setattr(keras_recurrent, "recurrent", last)


def padding_on_the_other_side(monkeypatch):
    found = keras_windows._pads
    monkeypatch.setattr(keras_windows, "_pads", lambda *options: found(*options)[::-1])


TRAPS = {
    gates_swapped: "keras3/lstm.keras",
    reset_and_update_swapped: "keras3/gru_before.keras",
    recurrent_bias_dropped: "keras3/gru_after.keras",
    reset_after_taken_for_before: "keras3/gru_before.keras",
    hard_sigmoid_of_the_other_keras: "keras2/hard_gates.h5",
    epsilon_of_torch: "keras3/normalized.keras",
    layer_norm_epsilon_of_torch: "keras3/normalized.keras",
    last_step_for_final_state: "keras3/bidirectional.keras",
    padding_on_the_other_side: "keras3/conv_same.keras",
}


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.__name__)
def test_the_proof_catches_each_trap(trap, saved, at_hand, monkeypatch):
    trap(monkeypatch)
    with pytest.raises(s2o.ImportRefused, match="differs from the source. First difference: whole, [12] steps"):
        s2o.from_keras(saved / TRAPS[trap])


x, dense = start(None, 3), layer("Dense", **DENSE)
KERNEL, DTYPE = (
    weights("dense", (3, 2), (2,)),
    {"class_name": "QuantizedDTypePolicy", "config": {"name": "int8_from_float32"}},
)
GROUPS = {"groups": 3, "axis": -1, "epsilon": 1e-3, "center": False, "scale": False}
HARMFUL = {
    "lambda": (sequential(x, layer("Lambda", function=["4wEAAAA="])), "lambda .Lambda.: runs code that is in the file"),
    "attention": (
        functional(x, call(layer("Attention", "look"), "x", "x"), outputs=["look"]),
        "look .Attention.: is attention over all steps",
    ),
    "custom": (
        sequential(x, layer("Mine", "mine") | {"module": "my.code", "registered_name": "my>Mine"}),
        "mine .Mine.: is the class Mine of my in my.code",
    ),
    "custom under a known name": (
        sequential(x, dense | {"module": "__main__"}),
        "dense .Dense.: is the class Dense of None in __main__",
    ),
    "unknown": (sequential(x, layer("ConvLSTM1D")), "is ConvLSTM1D, which is no layer of Keras that can be brought"),
    "quantized": (sequential(x, layer("Dense", **DENSE, dtype=DTYPE)), "calculates as int8_from_float32"),
    "mixed": (sequential(x, layer("Dense", **DENSE, dtype="mixed_float16")), "calculates as mixed_float16"),
    "shared": (
        functional(x, call(dense, "x", times=2), outputs=["dense"]),
        "dense .Dense.: is called 2 times, and layers that share weights",
    ),
    "start state": (
        functional(x, call(layer("LSTM", **LSTM), "x", initial_state=[1]), outputs=["lstm"]),
        "lstm .LSTM.: is called with initial_state",
    ),
    "number": (
        functional(
            x,
            call(layer("Add") | {"module": "keras.src.ops.numpy"}, "x")
            | {"inbound_nodes": [{"args": [{"config": {"keras_history": ["x", 0, 0]}}, 2.0], "kwargs": {}}]},
            outputs=["add"],
        ),
        "calculates with 2.0; use layers, such as Rescaling",
    ),
    "backwards": (sequential(x, layer("LSTM", **LSTM, go_backwards=True)), "reads sequences from their end"),
    "repeat": (sequential(x, layer("RepeatVector", n=3)), "repeats one vector over all steps"),
    "text": (sequential(x, layer("TextVectorization")), "prepares data before the network"),
    "flatten": (sequential(start(13, 3), layer("Flatten"), dense), "one axis of time and features"),
    "mixes time": (
        sequential(start(3, 3), layer("Permute", dims=[2, 1]), dense),
        "dense .Dense.: has weights along time",
    ),
    "over time": (sequential(x, layer("GroupNormalization", **GROUPS)), "statistics over time.* a norm of each step"),
    "channels over time": (sequential(x, layer("GroupNormalization", **GROUPS | {"axis": 1})), "channels along time"),
    "length over time": (sequential(x, layer("UnitNormalization", axis=[1, 2])), "statistics over time"),
    "mean left in": (
        sequential(x, layer("LayerNormalization", axis=[-1], rms_scaling=True, scale=False, center=False)),
        "keeps the mean .rms_scaling., .* use RMSNormalization",
    ),
    "softmax over time": (sequential(x, layer("Softmax", axis=1)), "softmax over time"),
    "activation": (sequential(x, layer("Dense", **DENSE | {"activation": "mish"})), "has the activation 'mish'"),
    "state activation": (sequential(x, layer("LSTM", **LSTM | {"activation": "elu"})), "has the activation 'elu'"),
    "subclassed": ({"class_name": "MyModel", "config": {}}, "MyModel: is a class of its own, whose code is not"),
    "no time": (sequential(start(3), dense), "without a time axis"),
    "unknown features": (sequential(start(None, None), dense), "the input has the shape"),
    "never built": (sequential(dense), "saved before it knew its input"),
    "both ways": (
        sequential(x, layer("Bidirectional", layer=layer("SimpleRNN", **LSTM), merge_mode="concat")),
        "is a bidirectional RNN",
    ),
    "mask of the maximum": (
        sequential(x, layer("Masking", mask_value=0.0), dense, layer("GlobalMaxPooling1D")),
        "does the source read the padding of shorter rows",
    ),
    "wide window": (
        sequential(x, layer("MaxPooling1D", pool_size=[10**9], strides=[1], padding="valid")),
        "has pool_size .1000000000.; expected 1 numbers",
    ),
    "wide padding": (sequential(x, layer("ZeroPadding1D", padding=10**9)), "adds or cuts 1000000000"),
    "doubled": (
        functional(
            start(None, 3),
            *(call(layer("Concatenate", f"c{i}", axis=-1), *[f"c{i - 1}" if i else "x"] * 2) for i in range(40)),
            outputs=["c39"],
        ),
        "has more than 1,048,576 features",
    ),
}
RECURRENT = lstm(3, 2) | {
    f"layers/bidirectional/{side}_layer/cell/vars/{i}": np.ones(shape, "f")
    for side in ("forward", "backward")
    for i, shape in enumerate([(3, 2), (2, 2), (2,)])
}


@pytest.mark.parametrize("name", HARMFUL)
def test_harmful_models_are_refused_with_the_reason(name, tmp_path, at_hand):
    model, says = HARMFUL[name]
    path = write(tmp_path / "model.keras", model, KERNEL | RECURRENT)
    with pytest.raises(s2o.ImportRefused, match=says):
        s2o.from_keras(path, masks="lengths")


def test_old_versions_are_refused(tmp_path, at_hand):
    path = write(tmp_path / "model.keras", sequential(x, dense), KERNEL, version="1.2.2")
    with pytest.raises(s2o.ImportRefused, match=r"written by Keras 1.2.2; save it again"):
        s2o.from_keras(path)


def test_windows_longer_than_the_first_trial_are_followed_with_more_steps(tmp_path, at_hand):
    frames = {"filters": 2, "kernel_size": [400], "strides": [160], "dilation_rate": [1], "use_bias": True}
    model = sequential(start(None, 1), layer("Conv1D", "frames", padding="valid", **frames), layer("LSTM", **LSTM))
    path = write(tmp_path / "model.keras", model, weights("conv1d", (400, 1, 2), (2,)) | lstm(2, 2))
    made = s2o.from_keras(path)
    assert made.network.layers[1].kernel_size == 400


def test_hundreds_of_layers_in_a_row_become_layers(tmp_path, at_hand, monkeypatch):
    monkeypatch.setattr(proof, "prove", lambda *_, **__: 0.0)
    chain = [layer("Activation", f"a{i}", activation="tanh") for i in range(600)]
    model = sequential(start(None, 3), layer("Dense", **DENSE), *chain)
    made = s2o.from_keras(write(tmp_path / "model.keras", model, weights("dense", (3, 2), (2,))))
    assert len(made.network.layers) == 602


def lstm_of_torch(arrays, features, units):
    """The LSTM of a file, whose gates have the order of torch."""
    kernel, recurrent, bias = (torch.from_numpy(arrays[f"layers/lstm/cell/vars/{i}"]) for i in range(3))
    found = torch.nn.LSTM(features, units, batch_first=True)
    found.load_state_dict(
        {"weight_ih_l0": kernel.T, "weight_hh_l0": recurrent.T, "bias_ih_l0": bias, "bias_hh_l0": bias * 0}
    )
    return found


def several_inputs(*shapes):
    """A model whose LSTM reads two sequences, and whose Dense reads also a vector of the whole sequence."""
    names = ("fast", "slow", "machine")
    starts = [layer("InputLayer", name, batch_shape=[None, *shape]) for name, shape in zip(names, shapes, strict=True)]
    return functional(
        *starts,
        call(layer("Concatenate", "both", axis=-1), "slow", "fast"),
        call(layer("LSTM", **LSTM | {"units": 4, "return_sequences": False}), "both"),
        call(layer("Concatenate", "all", axis=-1), "lstm", "machine"),
        call(layer("Dense", **DENSE), "all"),
        outputs=["dense"],
        inputs=names,
    )


def test_several_inputs_are_inputs_of_the_network_with_their_names(tmp_path):
    arrays = lstm(5, 4) | weights("dense", (6, 2), (2,), seed=3)
    made = s2o.from_keras(write(tmp_path / "model.keras", several_inputs((None, 3), (None, 2), (2,)), arrays))
    assert {entry.label: entry.kind for entry in made.network.inputs} == {
        "fast": "sequence_input",
        "slow": "sequence_input",
        "machine": "feature_input",
    }
    rng = np.random.default_rng(0)
    fast, slow, machine = (rng.normal(size=shape).astype("f") for shape in ((2, 9, 3), (2, 9, 2), (2, 2)))
    with torch.no_grad():
        h = lstm_of_torch(arrays, 5, 4)(torch.from_numpy(np.concatenate([slow, fast], 2)))[0][:, -1].numpy()
        found = made({name: torch.from_numpy(x) for name, x in (("fast", fast), ("slow", slow), ("machine", machine))})
    dense, offset = (arrays[f"layers/dense/vars/{i}"] for i in range(2))
    expected = np.concatenate([h, machine], 1) @ dense + offset
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=0, atol=CLOSE)


def test_the_cell_state_after_the_last_step_that_is_no_padding(tmp_path):
    cell = layer("LSTM", **LSTM | {"units": 4, "return_sequences": False, "return_state": True})
    model = functional(
        start(None, 3),
        call(layer("Masking", mask_value=0.0), "x"),
        call(cell, "masking"),
        call(layer("Concatenate", "states", axis=-1), ("lstm", 2), ("lstm", 1)),
        call(layer("Dense", **DENSE), "states"),
        outputs=["dense"],
    )
    arrays = lstm(3, 4) | weights("dense", (8, 2), (2,), seed=3)
    made = s2o.from_keras(write(tmp_path / "model.keras", model, arrays), masks="lengths")
    s2o.export(made, tmp_path / "model.onnx")
    file, rng = s2o.load(tmp_path / "model.onnx"), np.random.default_rng(0)
    rows = [rng.normal(size=(steps, 3)).astype("f") for steps in (9, 4)]
    with torch.no_grad():
        ends = [lstm_of_torch(arrays, 3, 4)(torch.from_numpy(row)[None])[1] for row in rows]
    states = np.concatenate([torch.cat((c, h), 2)[0].numpy() for h, c in ends])
    expected = states @ arrays["layers/dense/vars/0"] + arrays["layers/dense/vars/1"]
    np.testing.assert_allclose(file.predict(rows), expected, rtol=0, atol=CLOSE)
    stream = file.stream()
    chunks = [stream.step(rows[0][begin:end]) for begin, end in ((0, 5), (5, 5), (5, 9))]
    np.testing.assert_allclose(chunks[-1], expected[0], rtol=0, atol=CLOSE)


@pytest.mark.parametrize(
    ("shapes", "match"),
    [
        (((None, 3), (None, 2, 4), (2,)), "the input slow has the shape .*of several inputs, each must be"),
        (((3,), (2,), (2,)), "none of its inputs has a time axis"),
    ],
)
def test_several_inputs_that_are_no_sequences_and_vectors_are_refused(shapes, match, tmp_path):
    arrays = lstm(5, 4) | weights("dense", (6, 2), (2,))
    with pytest.raises(s2o.ImportRefused, match=match):
        s2o.from_keras(write(tmp_path / "model.keras", several_inputs(*shapes), arrays))
