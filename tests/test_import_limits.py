"""Imports never lose a limit: a bound on the number of steps in a foreign network is refused by name and number."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import seq2onnx as s2o
from seq2onnx.importing import equivalence as proof
from seq2onnx.importing.keras import file as keras_file
from tests.foreign import C, Graph, H, plain_lstm
from tests.keras_files import DENSE, LSTM, call, functional, layer, lstm, start, weights, write

BOUNDS = (130, 1010, 1500, 2000, 5000, 19_000)
WIDTHS = (1, 12, 1025)
UNITS = 4


class Limited(nn.Module):
    """A recurrent network that forgets, and answers once a sequence; `cut` is what limits its steps."""

    def __init__(self, cut, bound, width=3):
        super().__init__()
        self.cut, self.bound = cut, bound
        self.features, self.rnn, self.out = nn.Linear(width, 3), nn.GRU(3, UNITS, batch_first=True), nn.Linear(UNITS, 2)

    def forward(self, x, *lengths):
        return self.out(self.rnn(self.cut(self.features(x), self.bound, *lengths))[1][-1])


def every_second(x, n):
    return x[:, ::2] if x.size(1) > n else x


CUTS = {
    "the first steps": (lambda x, n: x[:, :n], r"x\[:, :{n}\] takes at most {n} steps"),
    "the last steps": (
        lambda x, n: x[:, -n:] if x.size(1) > n else x,
        r"x\[:, -{n}:\] takes at most {n} steps|calculates otherwise",
    ),
    "the last steps, always": (lambda x, n: x[:, -n:], r"x\[:, -{n}:\] takes at most {n} steps"),
    "every second step of many": (every_second, "calculates otherwise with 1,048,583 steps than with 1,009"),
    "the least of two numbers": (lambda x, n: x[:, : min(n, x.size(1))], r"takes at most {n}"),
    "narrow": (lambda x, n: x.narrow(1, 0, min(n, x.size(1))), r"narrow\(.*\) takes at most {n}"),
    "a distance from the end": (lambda x, n: x[:, max(0, x.size(1) - n) :], "takes at most {n}"),
    "padding of a negative number": (
        lambda x, n: nn.functional.pad(x, (0, 0, 0, min(0, n - x.size(1)))),
        "takes at most {n}",
    ),
    "an index": (lambda x, n: x[:, torch.arange(min(n, x.size(1)))], "takes at most {n}|elements of time"),
    "index_select": (
        lambda x, n: x.index_select(1, torch.arange(min(n, x.size(1)))),
        "takes at most {n}|elements of time",
    ),
    "split": (lambda x, n: x.split(n, 1)[0], "elements of time"),
    "chunk": (lambda x, n: x.chunk(max(1, x.size(1) // n), 1)[0], "elements of time"),
    "channels first": (lambda x, n: x.transpose(1, 2)[..., :n].transpose(1, 2), r"x\[\.\.\., :{n}\] takes at most {n}"),
}


def refusal(network, width=3, **more):
    torch.manual_seed(0)
    with pytest.raises(s2o.ImportRefused) as caught:
        s2o.from_torch(network.eval(), torch.randn(1, 9, width), **more)
    return str(caught.value)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("bound", [1500, 19_000])
def test_a_bound_in_a_module_is_refused_by_its_name_and_number(cut, bound):
    function, says = CUTS[cut]
    text = refusal(Limited(function, bound))
    assert re.search(says.format(n=bound), text), text


def test_a_bound_on_the_longest_row_is_refused():
    torch.manual_seed(0)
    network = Limited(lambda x, n, lengths: x[:, : min(n, int(lengths.max()))], 1500)
    with pytest.raises(s2o.ImportRefused, match=r"x\[:, :1500\] takes at most 1500 steps"):
        s2o.from_torch(network.eval(), (torch.randn(2, 9, 3), torch.tensor([9, 4])))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("bound", BOUNDS)
def test_a_bound_is_found_for_every_length_and_width(bound, width):
    text = refusal(Limited(CUTS["the first steps"][0], bound, width), width)
    assert f"x[:, :{bound}] takes at most {bound} steps" in text
    assert "[code: " in text


class Summed(nn.Module):
    """A network whose bound is in its numbers: no size shows it."""

    def __init__(self, scaled):
        super().__init__()
        self.scaled, self.fc = scaled, nn.Linear(3, 4)

    def forward(self, x):
        return self.scaled(self.fc(x)).mean(1)


NUMBERS = {
    "a number that grows from a bound on": lambda y: y / max(y.size(1), 1500),
    "a mask of the first steps": lambda y: y * (torch.arange(y.size(1)) < 1500)[:, None].float(),
    "a mask of ones with the device of x": lambda y: (
        y * (torch.arange(y.size(1), device=y.device) < 19_000)[:, None].float()
    ),
    "a tensor of a number": lambda y: y * torch.full((1,), float(y.size(1) < 19_000)),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_bound_in_the_numbers_of_a_module_is_found_by_a_long_run(name):
    assert "20011 steps" in refusal(Summed(NUMBERS[name]))


class Packed(nn.Module):
    """A network that gives packed sequences lengths of its own."""

    def __init__(self, lengths_of):
        super().__init__()
        self.lengths_of, self.rnn = lengths_of, nn.GRU(3, UNITS, batch_first=True)

    def forward(self, x, *lengths):
        packed = pack_padded_sequence(x, self.lengths_of(x, *lengths), batch_first=True, enforce_sorted=False)
        return self.rnn(packed)[1][-1]


FOUND = {
    "in the data": (lambda x: (x.abs().sum(-1) > 0).sum(1), False, "from sum"),
    "in one feature": (lambda x: (x[..., 0] != 0).long().sum(1).cpu(), False, "from sum"),
    "clamped": (lambda x, n: n.clamp(max=1500), True, "from clamp"),
    "clamped far": (lambda x, n: torch.clamp(n.cpu(), max=10**6), True, "from clamp"),
    "the least": (lambda x, n: torch.minimum(n, torch.tensor(19_000)), True, "from minimum"),
    "less one": (lambda x, n: n.to(torch.int64) - 0, True, "from (sub|__sub__)"),
    "all of a bound": (lambda x: torch.full((x.size(0),), min(x.size(1), 19_000)), False, "where the rows have"),
}


@pytest.mark.parametrize("name", FOUND)
def test_lengths_that_are_not_the_callers_are_refused(name):
    lengths_of, takes, says = FOUND[name]
    torch.manual_seed(0)
    x = torch.randn(2, 9, 3)
    with pytest.raises(s2o.ImportRefused, match=rf"pack_padded_sequence takes its lengths .*{says}.*\[code: "):
        s2o.from_torch(Packed(lengths_of).eval(), (x, torch.tensor([9, 4])) if takes else x)


COPIED = {
    "as given": (lambda x, n: n, True),
    "copies": (lambda x, n: n.detach().clone().cpu().to(torch.int64).long(), True),
    "the number of steps": (lambda x: torch.full((x.size(0),), x.size(1)), False),
}


@pytest.mark.parametrize("name", COPIED)
def test_lengths_of_the_caller_and_copies_of_them_are_taken(name):
    lengths_of, takes = COPIED[name]
    torch.manual_seed(0)
    x = torch.randn(2, 9, 3)
    s2o.from_torch(Packed(lengths_of).eval(), (x, torch.tensor([9, 4])) if takes else x)


HARMLESS = {
    "relu6": lambda x: nn.functional.relu6(x),
    "all steps by their number": lambda x: x[:, : x.size(1)],
    "all steps by narrow": lambda x: x.narrow(1, 0, x.size(1)),
    "features": lambda x: torch.cat([x[..., :2], x[..., -1:]], -1),
    "padding that is cut off": lambda x: nn.functional.pad(x, (0, 0, 2, 2))[:, :-2][:, 2:],
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_no_bound_is_not_refused(name):
    torch.manual_seed(0)
    s2o.from_torch(Limited(lambda x, n: HARMLESS[name](x), 0).eval(), torch.randn(1, 9, 3))


def test_the_last_step_is_no_bound():
    class Last(nn.Module):
        def __init__(self, take):
            super().__init__()
            self.take, self.rnn = take, nn.GRU(3, UNITS, batch_first=True)

        def forward(self, x):
            return self.take(self.rnn(x)[0])

    for take in (lambda y: y[:, -1], lambda y: y[:, -1:, :].squeeze(1), lambda y: y[:, y.size(1) - 1]):
        s2o.from_torch(Last(take).eval(), torch.randn(1, 9, 3))


def test_the_proof_draws_what_sets_a_rare_latch():
    torch.manual_seed(0)
    made = s2o.from_torch(Limited(lambda x, n: x, 0).eval(), torch.randn(1, 9, 3))

    def with_latch(sign):
        def source(x, lengths):
            found = made(torch.from_numpy(x), return_state=False)[0].detach().numpy()
            return [found + (sign * x > 12).any((1, 2))[:, None]]

        return source

    samples = proof.Samples(lambda rng, rows, steps: rng.normal(size=(rows, steps, 3)).astype("f"))
    for sign in (1, -1):
        with pytest.raises(proof.ProofFailed):
            proof.prove(made, with_latch(sign), samples)


# ONNX


def from_onnx(path, tmp_path):
    s2o.from_onnx(path, axes="BTC")


def add_states(path, tmp_path):
    s2o.add_states(path, tmp_path / "out.onnx", axes="BTC")


DOORS = {"from_onnx": from_onnx, "add_states": add_states}


def network(cut, width=C):
    """x [batch, time, width] → MatMul → `cut` → LSTM → [batch, time, K]."""
    g = Graph()
    x = g.op("MatMul", g.input("x", ["batch", "time", width]), g.weight(width, C, scale=0.1))
    g.dense(g.sequence_lstm(cut(g, x)), out=g.output("y"))
    return g


def steps_of(g, x):
    return g.op("Shape", x, start=1, end=2)


def sliced(g, x, start, end):
    return g.op("Slice", x, start, end, g.ints(1))


def chosen(g, x, bound):
    """With more steps than the bound, an If takes another branch."""
    many = g.op("Greater", steps_of(g, x), g.ints(bound))
    info = [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)]
    far = helper.make_graph([helper.make_node("Neg", [x], ["inner"])], "then", [], info)
    near = helper.make_graph([helper.make_node("Identity", [x], ["inner"])], "else", [], info)
    return g.op("If", many, then_branch=far, else_branch=near)


GRAPHS = {
    "a start": (lambda g, x, n: sliced(g, x, g.ints(-n), g.ints(2**62)), "Slice_1"),
    "an end": (lambda g, x, n: sliced(g, x, g.ints(0), g.ints(n)), "Slice_1"),
    "Min": (lambda g, x, n: sliced(g, x, g.ints(0), g.op("Min", steps_of(g, x), g.ints(n))), "Min_2"),
    "Clip": (lambda g, x, n: sliced(g, x, g.ints(0), g.op("Clip", steps_of(g, x), g.const(0), g.const(n))), "Clip_2"),
    "Neg of Min": (
        lambda g, x, n: sliced(g, x, g.op("Neg", g.op("Min", steps_of(g, x), g.ints(n))), g.ints(2**62)),
        "Min_2",
    ),
    "Where": (
        lambda g, x, n: sliced(
            g, x, g.ints(0), g.op("Where", g.op("Less", steps_of(g, x), g.ints(n)), steps_of(g, x), g.ints(n))
        ),
        "Less_2|Where_4",
    ),
    "Mod": (lambda g, x, n: sliced(g, x, g.ints(0), g.op("Mod", steps_of(g, x), g.ints(n))), "Mod_2"),
    "If": (chosen, "If_3"),
    "Pad": (
        lambda g, x, n: g.op(
            "Pad",
            x,
            g.op(
                "Concat",
                *[g.ints(0)] * 4,
                g.op("Min", g.ints(0), g.op("Sub", g.ints(n), steps_of(g, x))),
                g.ints(0),
                axis=0,
            ),
        ),
        "Min_3|Pad_5",
    ),
}


def graph_refusal(g, tmp_path, door):
    with pytest.raises(s2o.ImportRefused) as caught:
        DOORS[door](g.save(tmp_path), tmp_path)
    assert not (tmp_path / "out.onnx").exists()
    return str(caught.value)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", GRAPHS)
def test_a_bound_in_a_graph_is_refused_by_its_node_and_number(name, door, tmp_path):
    cut, says = GRAPHS[name]
    text = graph_refusal(network(lambda g, x: cut(g, x, 1500)), tmp_path, door)
    assert re.search(f"(?:{says}) .*1500", text), text


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ["a start", "Min"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("bound", BOUNDS)
def test_a_bound_in_a_graph_is_found_for_every_length_and_width(bound, width, name, door, tmp_path):
    cut, says = GRAPHS[name]
    text = graph_refusal(network(lambda g, x: cut(g, x, bound), width), tmp_path, door)
    assert re.search(f"{says} .*{bound} ", text), text


@pytest.mark.parametrize("door", DOORS)
def test_a_number_of_steps_that_no_run_reaches_is_refused(door, tmp_path):
    g = network(lambda g, x: GRAPHS["Min"][0](g, x, 3_000_000))
    assert "Min_2 (Min): 3000000 is a bound" in graph_refusal(g, tmp_path, door)


@pytest.mark.parametrize("door", DOORS)
def test_a_number_that_grows_from_a_bound_on_is_found(door, tmp_path):
    def divided(g, x):
        steps = g.op("Max", steps_of(g, x), g.ints(1500))
        return g.op("Div", x, g.op("Cast", steps, to=TensorProto.FLOAT))

    assert "1500 is a bound" in graph_refusal(network(divided), tmp_path, door)


@pytest.mark.parametrize("door", DOORS)
def test_a_mask_of_the_first_steps_is_found_by_a_long_run(door, tmp_path):
    def masked(g, x):
        places = g.op("Range", g.const(0), g.op("Squeeze", steps_of(g, x)), g.const(1))
        mask = g.op("Cast", g.op("Less", places, g.const(1500)), to=TensorProto.FLOAT)
        return g.op("Mul", x, g.op("Unsqueeze", mask, g.ints(0, 2)))

    assert re.search("steps|bound", graph_refusal(network(masked), tmp_path, door))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("how", ["clamped", "constant", "found in the data", "the least of two numbers"])
def test_lengths_of_a_graph_that_are_not_the_callers_are_refused(how, door, tmp_path):
    g = Graph()
    x = g.input("x", ["batch", "time", C])
    if how == "clamped":
        lengths = g.op("Min", g.input("lengths", ["batch"], TensorProto.INT32), g.const([1500], np.int32))
    elif how == "found in the data":
        there = g.op("Greater", g.op("ReduceL1", x, axes=[2], keepdims=0), g.const(np.float32(0)))
        there = g.op("Cast", there, to=TensorProto.INT32)
        lengths = g.op("ReduceSum", there, g.ints(1), keepdims=0)
    else:
        size = g.op("Min", steps_of(g, x), g.ints(1500)) if how[0] == "t" else g.ints(5)
        rows = g.op("Shape", x, start=0, end=1)
        lengths = g.op("Cast", g.op("Expand", size, rows), to=TensorProto.INT32)
    weights = [g.weight(1, 4 * H, C), g.weight(1, 4 * H, H), g.weight(1, 8 * H)]
    y = g.op("LSTM", g.time_first(x), *weights, lengths, outs=3, hidden_size=H)[0]
    g.dense(g.time_first(g.squeeze(y, 1)), out=g.output("y"))
    assert "lengths" in graph_refusal(g, tmp_path, door) or how[0] == "t"


@pytest.mark.parametrize("door", DOORS)
def test_clips_of_features_and_computed_ends_are_no_bounds(door, tmp_path):
    def harmless(g, x):
        y = g.op("Clip", x, g.const(np.float32(0)), g.const(np.float32(6))) if door == "add_states" else x
        return sliced(g, y, g.ints(0), steps_of(g, y))

    DOORS[door](network(harmless).save(tmp_path), tmp_path)
    plain_lstm().save(tmp_path)
    DOORS[door](tmp_path / "foreign.onnx", tmp_path)


# Keras: a model has no code, so each layer that could have a bound is refused by its kind

FIXED = {
    "a slice of Keras 3": layer("GetItem", "cut", key=[{"start": None, "stop": None}, {"start": None, "stop": 1500}]),
    "a slice of Keras 2": layer("SlicingOpLambda", "cut", function="__operators__.getitem"),
    "a function": layer("TFOpLambda", "cut", function="math.minimum"),
    "a Lambda": layer("Lambda", "cut", function="x[:, :1500]"),
    "a vector repeated": layer("RepeatVector", "cut", n=1500),
    "a new number of steps": layer("Reshape", "cut", target_shape=[1500, 6]),
}


@pytest.mark.parametrize("name", FIXED)
def test_layers_of_keras_with_a_fixed_number_of_steps_are_refused_by_name(name, tmp_path, monkeypatch):
    monkeypatch.setattr(keras_file, "read_apart", lambda reader, path, kind: keras_file.contents(path))
    entries = [call(FIXED[name], "x"), call(layer("LSTM", **LSTM), "cut"), call(layer("Dense", **DENSE), "lstm")]
    model = functional(start(None, 3), *entries, outputs=["dense"])
    path = write(tmp_path / "model.keras", model, lstm(3, 2) | weights("dense", (2, 2), (2,)))
    with pytest.raises(s2o.ImportRefused, match="cut"):
        s2o.from_keras(path)
