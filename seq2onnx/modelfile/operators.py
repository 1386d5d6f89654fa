"""The operators that files of seq2onnx may have, as data: a test checks that all that the layers emit are here.

Trilu, and operators that work number by number, are here for layers of your own. A layer with an operator that is not
here needs a row, with the function in shapes.py that calculates the shape of its result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from seq2onnx.modelfile import shapes
from seq2onnx.modelfile.protos import FLOAT, FLOATS, GRAPH, INT, INTS, STRING, STRINGS
from seq2onnx.modelfile.shapes import ShapeRule

ML_DOMAIN = b"ai.onnx.ml"
OPSETS = {b"": range(13, 10**4), ML_DOMAIN: range(2, 3)}
"""The versions of the operators of each domain. onnxruntime refuses those that it does not know."""


class Operator(NamedTuple):
    """What a node with this operator may look like.

    Attributes:
        shape: computes the shapes of its results; None for If and Scan.
        required: how many inputs it must have.
        most: how many inputs it may have.
        results: how many results it may have.
        attributes: the type of each attribute that it may have.
        needs: attributes that it must have.
        heavy: whether it takes long for the size of its result. onnxruntime computes what does not depend on data
            when a file is opened, so such a node must read data.
    """

    shape: ShapeRule | None
    required: int
    most: int
    results: int = 1
    attributes: Mapping[bytes, int] = {}
    needs: tuple[bytes, ...] = ()
    heavy: bool = False


_WINDOW = {b"pads": INTS, b"strides": INTS}
_RECURRENT = {
    b"hidden_size": INT,
    b"direction": STRING,
    b"activations": STRINGS,
    b"activation_alpha": FLOATS,
    b"activation_beta": FLOATS,
}
_REDUCE = Operator(shapes.reduce_axes, 1, 2, attributes={b"axes": INTS, b"keepdims": INT})
_IF = {b"then_branch": GRAPH, b"else_branch": GRAPH}
_SCAN = {b"body": GRAPH, b"num_scan_inputs": INT, b"scan_output_axes": INTS}


def _plain(rule: ShapeRule, inputs: int, heavy: bool = False) -> Operator:
    return Operator(rule, inputs, inputs, heavy=heavy)


def _each(names: bytes, operator: Operator) -> dict[bytes, Operator]:
    return dict.fromkeys(names.split(), operator)


OPERATORS: dict[bytes, Operator] = {
    **_each(b"And Equal Greater GreaterOrEqual Less LessOrEqual Or", _plain(shapes.broadcast(shapes.BOOL), 2)),
    **_each(b"Abs Ceil Cos Erf Exp Floor HardSwish Log Neg Not", _plain(shapes.like_first, 1)),
    **_each(b"Reciprocal Relu Round Sigmoid Sign Sin Softplus Softsign Sqrt Tanh", _plain(shapes.like_first, 1)),
    **_each(b"Elu LeakyRelu", Operator(shapes.like_first, 1, 1, attributes={b"alpha": FLOAT})),
    **_each(b"ReduceMax ReduceMean ReduceMin ReduceSum", _REDUCE),
    b"Add": _plain(shapes.add, 2),
    b"AveragePool": Operator(
        shapes.pool, 1, 1, attributes={b"count_include_pad": INT, b"kernel_shape": INTS, **_WINDOW}, heavy=True
    ),
    b"Cast": Operator(shapes.cast, 1, 1, attributes={b"to": INT}, needs=(b"to",)),
    b"Clip": _plain(shapes.like_first, 3),
    b"Concat": Operator(shapes.concat, 2, 2**16, attributes={b"axis": INT}, needs=(b"axis",)),
    b"Conv": Operator(shapes.conv, 2, 3, attributes={b"dilations": INTS, b"group": INT, **_WINDOW}, heavy=True),
    b"CumSum": Operator(shapes.like_first, 2, 2, attributes={b"exclusive": INT}),
    b"Div": _plain(shapes.divide, 2),
    b"Expand": _plain(shapes.expand, 2),
    b"Flatten": _plain(shapes.flatten, 1),
    b"GRU": Operator(
        shapes.recurrent(3, 1, 2), 4, 6, 2, {b"linear_before_reset": INT, **_RECURRENT}, (b"linear_before_reset",), True
    ),
    b"Gather": Operator(shapes.gather, 2, 2, attributes={b"axis": INT}),
    b"GatherElements": Operator(shapes.gather_elements, 2, 2, attributes={b"axis": INT}, needs=(b"axis",)),
    b"GatherND": Operator(shapes.gather_nd, 2, 2, attributes={b"batch_dims": INT}, needs=(b"batch_dims",)),
    b"Gemm": Operator(shapes.gemm, 3, 3, attributes={b"transB": INT}, heavy=True),
    b"HardSigmoid": Operator(shapes.like_first, 1, 1, attributes={b"alpha": FLOAT, b"beta": FLOAT}),
    b"Identity": _plain(shapes.same, 1),
    b"If": Operator(None, 1, 1, 100, _IF, tuple(_IF)),
    b"IsNaN": _plain(shapes.broadcast(shapes.BOOL), 1),
    b"LSTM": Operator(shapes.recurrent(4, 2, 3), 4, 7, 3, _RECURRENT, heavy=True),
    b"LayerNormalization": Operator(shapes.layer_norm, 3, 3, attributes={b"axis": INT, b"epsilon": FLOAT}),
    b"MatMul": _plain(shapes.matmul, 2, heavy=True),
    b"Max": Operator(shapes.larger, 2, 100),
    b"MaxPool": Operator(shapes.pool, 1, 1, attributes={b"kernel_shape": INTS, **_WINDOW}, heavy=True),
    b"Min": Operator(shapes.smaller, 2, 100),
    b"Mod": _plain(shapes.remainder, 2),
    b"Mul": _plain(shapes.multiply, 2),
    b"Pad": Operator(shapes.pad, 2, 3),
    b"Pow": _plain(shapes.broadcast(), 2),
    b"RNN": Operator(shapes.recurrent(1, 1, 1), 4, 6, 2, _RECURRENT, heavy=True),
    b"Range": _plain(shapes.range_of, 3),
    b"Reshape": Operator(shapes.reshape, 2, 2, attributes={b"allowzero": INT}),
    b"Scan": Operator(None, 2, 101, 101, _SCAN, tuple(_SCAN), heavy=True),
    b"ScatterElements": Operator(shapes.scatter_elements, 3, 3, attributes={b"axis": INT}),
    b"Selu": Operator(shapes.like_first, 1, 1, attributes={b"alpha": FLOAT, b"gamma": FLOAT}),
    b"Shape": Operator(shapes.shape_of, 1, 1, attributes={b"start": INT, b"end": INT}, needs=(b"start", b"end")),
    b"Slice": _plain(shapes.cut, 4),
    b"Split": Operator(shapes.split, 2, 2, 1000, {b"axis": INT}, (b"axis",)),
    b"Softmax": Operator(shapes.along_axis, 1, 1, attributes={b"axis": INT}),
    b"Squeeze": Operator(shapes.squeeze, 1, 2),
    b"Sub": _plain(shapes.subtract, 2),
    b"Transpose": Operator(shapes.transpose, 1, 1, attributes={b"perm": INTS}, needs=(b"perm",)),
    b"Trilu": Operator(shapes.like_first, 1, 1, attributes={b"upper": INT}),
    b"Unsqueeze": _plain(shapes.unsqueeze, 2),
    b"Where": _plain(shapes.where, 3),
}
"""The operators of the default domain."""

ML_OPERATORS: dict[bytes, Operator] = {
    b"LabelEncoder": Operator(
        shapes.broadcast(shapes.INT64),
        1,
        1,
        attributes={b"keys_strings": STRINGS, b"values_int64s": INTS, b"default_int64": INT},
    )
}
"""The operators of ai.onnx.ml."""

CHOICES: dict[tuple[bytes, bytes], frozenset[Any]] = {
    (b"Cast", b"to"): frozenset({shapes.FLOAT32, shapes.FLOAT64, shapes.INT32, shapes.INT64, shapes.BOOL}),
    (b"GatherND", b"batch_dims"): frozenset({1}),  # onnxruntime 1.24 divides by 0 for others
    **{(op, b"direction"): frozenset({b"bidirectional"}) for op in (b"LSTM", b"GRU", b"RNN")},
}
"""Attributes that may have only some values."""

INITIALIZER_BYTES = {shapes.FLOAT32: 4, shapes.FLOAT16: 2, shapes.INT8: 1, shapes.INT32: 4, shapes.INT64: 8}
"""The element types of initializers, and their bytes."""
