"""from_keras: indexing, attention over time and functions of keras.ops, in the form in which Keras 3.15 saves them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import seq2onnx as s2o
from seq2onnx.importing.keras import file as keras_file
from tests.keras_files import DENSE, LSTM, call, functional, layer, lstm, sequential, start, weights, write

C, H = 3, 4
CLOSE = 1e-6  # float32, summed in another order than numpy does
RNN = layer("LSTM", **LSTM | {"units": H})
SCORE = layer("Dense", "score", **DENSE | {"units": 1, "activation": "tanh"})
HEAD = layer("Dense", "head", **DENSE)
# The folders of the weights have the kinds of the layers, counted.
ARRAYS = lstm(C, H) | weights("dense", (H, 1), (1,), seed=1) | weights("dense_1", (H, 2), (2,), seed=2)
KERNEL, BIAS = (ARRAYS[f"layers/dense_1/vars/{i}"] for i in (0, 1))


@pytest.fixture(autouse=True)
def at_hand(monkeypatch):
    """Read files in this process: starting another one takes most of the time."""
    monkeypatch.setattr(keras_file, "read_apart", lambda reader, path, kind: keras_file.contents(path))


def operation(kind, name, *reads, also=(), **config):
    """A call of a function of keras.ops; `also` are its arguments after the tensors."""
    entry = call({"class_name": kind, "config": {"name": name, **config}, "module": "keras.src.ops.numpy"}, *reads)
    node = entry["inbound_nodes"][0]
    tensors = node["args"][0] if isinstance(node["args"][0], list) else node["args"]
    return entry | {"inbound_nodes": [node | {"args": [*tensors, *also]}]}


def part(begin=None, end=None, stride=None):
    return {"class_name": "__slice__", "config": {"start": begin, "stop": end, "step": stride}}


REST = {"class_name": "__ellipsis__", "config": {}}


def imported(tmp_path, *between, last):
    """An LSTM "lstm" with scores "score" of its steps, other calls, and a Dense "head" that reads `last`."""
    entries = [call(RNN, "x"), call(SCORE, "lstm"), *between, call(HEAD, last)]
    model = functional(start(None, C), *entries, outputs=["head"])
    return s2o.from_keras(write(tmp_path / "model.keras", model, ARRAYS))


def check(module, tmp_path, expected):
    """Compare a model with numpy, given all steps of the LSTM and the scores."""
    x = np.random.default_rng(0).normal(size=(2, 9, C)).astype("f")
    plain = s2o.from_keras(write(tmp_path / "lstm.keras", sequential(start(None, C), RNN), lstm(C, H)))
    with torch.no_grad():
        h, found = (each(torch.from_numpy(x))[0].numpy() for each in (plain, module))
    kernel, bias = (ARRAYS[f"layers/dense/vars/{i}"] for i in (0, 1))
    want = expected(h, np.tanh(h @ kernel + bias)) @ KERNEL + BIAS
    np.testing.assert_allclose(found, want.reshape(found.shape), rtol=0, atol=CLOSE)


INDEXES = {
    "the last step": ([part(), -1], lambda h: h[:, -1]),
    "the last step, all features": ([part(), -1, part()], lambda h: h[:, -1, :]),
    "the last step as a sequence": ([part(), part(-1)], lambda h: h[:, -1:]),
    "all but the first steps": ([part(), part(2)], lambda h: h[:, 2:]),
    "features in another order": ([REST, part(None, None, -1)], lambda h: h[..., ::-1]),
    "everything": ([part(), part(), part()], lambda h: h),
    "a new axis that goes": ([REST, None, part()], lambda h: h),
}


@pytest.mark.parametrize("name", INDEXES)
def test_an_index_is_what_it_is_in_keras(tmp_path, name):
    index, expected = INDEXES[name]
    calls = [operation("GetItem", "item", "lstm", also=[index])]
    if "axis" in name:
        calls.append(operation("Squeeze", "squeezed", "item", axis=-2))
    check(imported(tmp_path, *calls, last=calls[-1]["config"]["name"]), tmp_path, lambda h, _: expected(h))


def test_a_number_of_a_feature_takes_one(tmp_path):
    calls = [operation("GetItem", f"item{i}", "lstm", also=[[part(), part(), i]]) for i in (3, 0, -2, 1)]
    calls += [operation("ExpandDims", f"wide{i}", f"item{i}", axis=-1) for i in (3, 0, -2, 1)]
    joined = call(layer("Concatenate", axis=-1), *(f"wide{i}" for i in (3, 0, -2, 1)))
    check(imported(tmp_path, *calls, joined, last="concatenate"), tmp_path, lambda h, _: h[..., [3, 0, 2, 1]])


HARMFUL = {
    "the first step": ([part(), 0], "single step that is not the last"),
    "the first steps": ([part(), part(None, 5)], "takes the steps 0:5:1 by their number"),
    "the last steps": ([part(), part(-5)], "takes the steps -5::1 by their number, or by their distance"),
    "all but the last steps of a stride": ([part(), part(None, None, 2)], "takes the steps 0::2"),
    "reversed": ([part(), part(None, None, -1)], "takes the steps 0::-1"),
    "a row": ([0], "takes some elements of the batch by number"),
    "text": ([part(), "last"], "an index of a tensor is 'last'; use numbers and slices"),
    "a slice of text": ([part("first")], "an index of a tensor is .*; use numbers and slices"),
}


@pytest.mark.parametrize("name", HARMFUL)
def test_an_index_of_certain_steps_or_rows_is_refused(tmp_path, name):
    index, says = HARMFUL[name]
    with pytest.raises(s2o.ImportRefused, match=says):
        imported(tmp_path, operation("GetItem", "item", "lstm", also=[index]), last="item")


WEIGHTS = call(layer("Softmax", "weights", axis=1), "score")
PERMUTED = [
    call(layer("Permute", "row", dims=[2, 1]), "score"),
    call(layer("Activation", "weights_row", activation="softmax"), "row"),
]
FLAT = call(layer("Flatten", "flat"), "dot")
ATTENTION = {
    "Dot of the first axes": ([WEIGHTS, call(layer("Dot", "dot", axes=[1, 1]), "weights", "lstm"), FLAT], "flat"),
    "Dot the other way round": ([WEIGHTS, call(layer("Dot", "dot", axes=1), "lstm", "weights"), FLAT], "flat"),
    "Dot of a permuted softmax": (
        [*PERMUTED, call(layer("Dot", "dot", axes=(2, 1)), "weights_row", "lstm"), FLAT],
        "flat",
    ),
    "permuted twice": (
        [
            *PERMUTED,
            call(layer("Permute", "weights", dims=[2, 1]), "weights_row"),
            call(layer("Multiply", "product"), "lstm", "weights"),
            operation("Sum", "sum", "product", axis=1, keepdims=False),
        ],
        "sum",
    ),
    "keras.ops": (
        [
            operation("Softmax", "weights", "score", axis=1),
            operation("Transpose", "turned", "weights", axes=[0, 2, 1]),
            operation("Matmul", "dot", "turned", "lstm"),
            operation("Squeeze", "flat", "dot", axis=[1]),
        ],
        "flat",
    ),
}


def pooled(h, scores):
    raised = np.exp(scores)
    return (h * raised / raised.sum(1, keepdims=True)).sum(1)


@pytest.mark.parametrize("name", ATTENTION)
def test_a_softmax_over_time_times_a_sequence_is_an_attention_pool(tmp_path, name):
    calls, last = ATTENTION[name]
    module = imported(tmp_path, *calls, last=last)
    assert [each.kind for each in module.network.layers].count("attention_pool") == 1
    check(module, tmp_path, pooled)


REDUCED = {"Sum": np.sum, "Mean": np.mean, "Max": np.max, "Min": np.min}


@pytest.mark.parametrize("kind", REDUCED)
def test_reductions_over_features_and_time(tmp_path, kind):
    over_features = operation(kind, "narrow", "lstm", axis=[-1], keepdims=True)
    calls = [over_features, call(layer("Concatenate", axis=-1), *["narrow"] * H)]
    check(
        imported(tmp_path, *calls, last="concatenate"),
        tmp_path,
        lambda h, _: np.repeat(REDUCED[kind](h, -1)[..., None], H, -1),
    )
    if kind in ("Mean", "Max"):
        over_time = operation(kind, "pooled", "lstm", axis=1, keepdims=False)
        check(imported(tmp_path, over_time, last="pooled"), tmp_path, lambda h, _: REDUCED[kind](h, 1))


def test_a_product_of_sequences_over_time_sums_their_products(tmp_path):
    dot = call(layer("Dot", "dot", axes=1), "lstm", "lstm")
    check(imported(tmp_path, dot, last="dot"), tmp_path, lambda h, _: h.transpose(0, 2, 1) @ h)
    dot = call(layer("Dot", "dot", axes=2, normalize=True), "lstm", "lstm")
    with pytest.raises(s2o.ImportRefused, match="normalizes the tensors that it multiplies"):
        imported(tmp_path, dot, last="dot")
