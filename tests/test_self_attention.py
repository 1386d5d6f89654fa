"""SelfAttention: what a step sees, the numbers of torch's own attention, linear time, and any chunks."""

from __future__ import annotations

import copy
import re
import time

import numpy as np
import pytest
import torch

import seq2onnx as s2o
from tests.comparison import FLOAT32
from tests.small_networks import exported

MOST_TIMES = 20  # as long for 8 times the steps: 8 if linear, 64 if every step saw every other


def network(heads=2, size=4, context=5):
    return s2o.Network([s2o.SequenceInput(3), s2o.SelfAttention(heads, size, context)])


def random_module(made):
    torch.manual_seed(0)
    module = s2o.build(made).eval()
    with torch.no_grad():
        for weight in module.parameters():
            weight.normal_(0, 0.5)
    return module


@pytest.mark.parametrize("context", [1, 5, 70])
def test_a_step_sees_context_minus_1_steps_back_and_none_ahead(tmp_path, context):
    """Another number in step 100 changes the results of steps 100 … 100 + context − 1, and of no other."""
    module = random_module(network(context=context))
    s2o.export(module, tmp_path / "model.onnx")
    x = np.random.default_rng(0).normal(size=(200, 3)).astype("f")
    other = x.copy()
    other[100] += 1
    model = s2o.load(tmp_path / "model.onnx")
    streams = model.stream(), model.stream()
    for pair in (
        model.predict([x, other]),
        [module(torch.from_numpy(a)[None])[0][0].detach().numpy() for a in (x, other)],
        [
            np.concatenate([stream.step(a[i : i + 3]) for i in range(0, 200, 3)])
            for stream, a in zip(streams, (x, other), strict=True)
        ],
    ):
        changed = np.flatnonzero((pair[0] != pair[1]).any(1))
        assert changed.tolist() == list(range(100, 100 + context))


def test_the_numbers_are_those_of_the_attention_of_torch(tmp_path):
    """Where all positions are alike, with a mask for the steps that are not seen."""
    module, context, steps = random_module(network(heads=3, size=2, context=6)), 6, 90
    own = torch.nn.MultiheadAttention(6, 3, batch_first=True)
    layer = module.layers["self_attention_1"]
    with torch.no_grad():
        layer["position"].zero_()
        # The attention of torch takes x of its own width.
        layer["input_weights"][:, 2] = 0
        own.in_proj_weight[:, :3], own.in_proj_weight[:, 3:] = layer["input_weights"], 0
        own.in_proj_bias.copy_(layer["input_bias"])
        own.out_proj.weight.copy_(layer["output_weights"])
        own.out_proj.bias.copy_(layer["output_bias"])
    s2o.export(module, tmp_path / "model.onnx")
    x = np.random.default_rng(0).normal(size=(steps, 3)).astype("f")
    wide = torch.from_numpy(np.concatenate([x, np.zeros_like(x)], 1))[None]
    back = torch.arange(steps)[:, None] - torch.arange(steps)
    expected, _ = own(wide, wide, wide, attn_mask=(back < 0) | (back >= context))
    (y,) = s2o.load(tmp_path / "model.onnx").predict([x])
    np.testing.assert_allclose(y, expected[0].detach(), rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("context", [7, 100])
def test_chunks_of_0_to_1000_steps_give_the_whole_sequence(tmp_path, context):
    s2o.export(random_module(network(context=context)), tmp_path / "model.onnx")
    model, rng = s2o.load(tmp_path / "model.onnx"), np.random.default_rng(0)
    x = rng.normal(size=(3000, 3)).astype("f")
    start, found, stream = 0, [], model.stream()
    while start < len(x):
        stop = start + int(rng.choice([0, 1, 2, 31, 32, 33, 64, 1000]))
        found.append(stream.step(x[start:stop]))
        start = stop
    np.testing.assert_allclose(np.concatenate(found), model.predict([x])[0], rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("signature", ["full", "sequence"])
def test_the_time_is_linear_in_the_steps(tmp_path, signature):
    model, _ = exported(tmp_path, network(context=64), signature=signature)
    x = np.random.default_rng(0).normal(size=(8000, 3)).astype("f")
    seconds = {1000: [], 8000: []}
    for _ in range(5):
        for steps, found in seconds.items():
            start = time.process_time()
            model.predict([x[:steps]])
            found.append(time.process_time() - start)
    assert np.median(seconds[8000]) / np.median(seconds[1000]) < MOST_TIMES


def test_it_learns_to_find_what_was_some_steps_before():
    """Position and keys both get gradients: the answer of each step is x of 3 steps before."""
    torch.manual_seed(0)
    module = s2o.build(s2o.Network([s2o.SequenceInput(2), s2o.SelfAttention(2, 4, 6), s2o.FullyConnected(2)]))
    x = torch.randn(8, 30, 2)
    optimizer = torch.optim.Adam(module.parameters(), 0.03)
    for _ in range(100):
        optimizer.zero_grad()
        error = (module(x, return_state=False)[0][:, 3:] - x[:, :-3]).square().mean()
        error.backward()
        optimizer.step()
    assert error < 0.2  # 1 at the start
    assert module.layers["self_attention_1"]["position"].abs().max() > 0.5


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: s2o.SelfAttention(0, 4, 8), s2o.SpecError, "self_attention.heads: must be greater than 0; got 0"),
        (lambda: s2o.SelfAttention(2, 4), s2o.SpecError, "self_attention.context: "),
        (lambda: s2o.SelfAttention(2, 4, 0), s2o.SpecError, "self_attention.context: must be greater than 0; got 0"),
        (
            lambda: s2o.SelfAttention(2, 4, 5000),
            s2o.SpecError,
            "self_attention.context: must be at most 4096; got 5000",
        ),
        (
            lambda: s2o.Network([s2o.FeatureInput(2), s2o.SelfAttention(2, 4, 8)]),
            s2o.ShapeError,
            "self_attention_1: expected x [batch, time, features], got [batch, 2], which has no time axis",
        ),
        (
            lambda: s2o.Network([s2o.SequenceInput("tokens"), s2o.SelfAttention(2, 4, 8)]),
            s2o.ShapeError,
            "self_attention_1: expected numbers, got tokens; put a WordEmbedding before it",
        ),
    ],
)
def test_what_does_not_fit_is_named(make, error, message):
    with pytest.raises(error, match=re.escape(message)):
        make()


@pytest.mark.parametrize("magnitude", [1.0, 1e4, 1e16, 1e17, 3e17, 1e18])
def test_steps_that_are_not_seen_count_for_nothing_however_large_the_scores_are(tmp_path, magnitude):
    """Scores grow with the square of x, up to 1e37: of each sign, in whole sequences, chunks and single steps."""
    module = random_module(network(context=5))
    x = (magnitude * np.random.default_rng(0).normal(size=(90, 3))).astype("f")
    with torch.no_grad():
        expected = copy.deepcopy(module).double()(torch.from_numpy(x)[None].double())[0][0].numpy()
        found = [module(torch.from_numpy(x)[None])[0][0].numpy()]
    for form in ("dynamic", "portable", "step"):
        s2o.export(module, tmp_path / f"{form}.onnx", form=form)
        model = s2o.load(tmp_path / f"{form}.onnx")
        found.append(model.predict([x])[0])
        stream = model.stream()
        cuts = range(1, 90) if form == "step" else (1, 2, 7, 50)
        found.append(np.concatenate([stream.step(part) for part in np.split(x, cuts)]))
    for y in found:
        assert np.abs(y - expected).max() <= FLOAT32 * np.abs(expected).max()


def test_several_steps_of_a_call_do_not_see_each_other_with_a_context_of_one(tmp_path):
    """A step file takes as many steps as a later stride needs."""
    layers = [s2o.SequenceInput(2), s2o.SelfAttention(2, 3, 1), s2o.Decimate(2)]
    module = random_module(s2o.Network(layers))
    x = np.random.default_rng(0).normal(size=(12, 2)).astype("f")
    for form in ("dynamic", "portable", "step"):
        s2o.export(module, tmp_path / f"{form}.onnx", form=form)
        found = s2o.load(tmp_path / f"{form}.onnx").predict([x])[0]
        with torch.no_grad():
            expected = module(torch.from_numpy(x)[None])[0][0].numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5)
