"""Without axes=, a refusal has the reason of the order of axes that the file has."""

from __future__ import annotations

import itertools

import pytest

import seq2onnx as s2o
from tests.foreign import C, Graph, H

ORDERS = {"BTC": ("batch", "time", C), "BCT": ("batch", C, "time"), "TBC": ("time", "batch", C)}
FIXED = {"batch": 1, "time": 20}


def harmful(order: str, fixed: bool, kind: str, harm: str) -> Graph:
    """Time is reversed, or normalized by a softmax, before a convolution or an LSTM, whose axes are known."""
    g, time = Graph(), order.index("T")
    x = g.input("x", [FIXED.get(size, size) if fixed else size for size in ORDERS[order]])
    if harm == "reversed":
        x = g.op("Slice", x, g.ints(-1), g.ints(-(2**62)), g.ints(time), g.ints(-1))
    else:
        x = g.op("Softmax", x, axis=time)
    wanted = "BCT" if kind == "Conv" else "TBC"
    if order != wanted:
        x = g.op("Transpose", x, perm=[order.index(letter) for letter in wanted])
    if kind == "Conv":
        y = g.op("Transpose", g.op("Conv", x, g.weight(H, C, 3), pads=[2, 0]), perm=[0, 2, 1])
    else:
        y = g.squeeze(g.lstm(x)[0], 1)
    g.dense(y, out=g.output("y"))
    return g


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("kind", ["Conv", "LSTM"])
def test_the_reason_is_that_of_the_order_of_the_file(tmp_path, order, fixed, kind):
    path = harmful(order, fixed, kind, "reversed" if fixed else "normalized").save(tmp_path)
    for door in (s2o.from_onnx, lambda path, **more: s2o.add_states(path, tmp_path / "out.onnx", **more)):
        reasons = []
        for more in ({}, {"axes": order}):
            with pytest.raises(s2o.ImportRefused) as refusal:
                door(path, **more)
            reasons.append(str(refusal.value))
        assert reasons[0] == f"{reasons[1]} (the axes of its input read as {order}; give axes= if they are others)"
        assert "time" in reasons[1]


def test_a_sum_over_the_batch_is_refused_as_such_if_the_rest_says_what_the_batch_is(tmp_path):
    """Read with time first, it would be a sum over time: the LSTM shows that it is not."""
    for fixed, door in itertools.product((False, True), (s2o.from_onnx, None)):
        g = Graph()
        x = g.input("x", [7 if fixed else "batch", 20 if fixed else "time", C])
        y = g.sequence_lstm(g.op("Sub", x, g.op("ReduceMean", x, axes=[0], keepdims=1)))
        g.dense(y, out=g.output("y"))
        path = g.save(tmp_path)
        with pytest.raises(s2o.ImportRefused, match="over the batch.* read as BTC"):
            door(path) if door else s2o.add_states(path, tmp_path / "out.onnx")
