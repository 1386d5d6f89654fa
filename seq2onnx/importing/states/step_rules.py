"""The operators of foreign graphs that act on each step alone: a rule for each, which follows the axes.

A rule takes a Call and returns the signals that the node gives. The node stays as it is. A rule raises ImportRefused
where the node joins steps or rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.axes import Axes, joined_axes
from seq2onnx.importing.onnx.node_calls import (
    Call,
    check_eval_mode,
    check_features,
    check_weights,
    last_axes,
    same,
    softmax_axes,
)

Rule = Callable[[Call], list[Axes]]


def _no_padding(call: Call) -> None:
    """Refuse padding before the first step: an operation on it would give other numbers than zero."""
    if any(x is not None and x.pads[0] > 0 for x in call.signals):
        raise ImportRefused("reads the padding of time; put the padding directly before the convolution or pooling")


def elementwise(call: Call) -> list[Axes]:
    """A function of each number, and of numbers at the same place of other tensors."""
    _no_padding(call)
    y = _joined([x for x in call.signals if x is not None], call.shapes[0])
    for index in range(len(call.signals)):
        call.settled(index, y)
    return [y] * len(call.shapes)


def _joined(xs: Sequence[Axes], shape: Sequence[int]) -> Axes:
    """Broadcast tensors that have the same steps."""
    y = xs[0].with_shape(shape, joined_axes([x.axes for x in xs], [x.shape for x in xs], len(shape)))
    if len({x.has_time for x in xs}) > 1:
        raise ImportRefused("combines every step with the last one, which a stream does not know before it comes")
    if len({x.pads for x in xs}) > 1:
        raise ImportRefused(
            f"combines tensors that are padded or cut by different numbers of steps, {[x.pads for x in xs]}"
        )
    return y


def in_eval_mode(call: Call) -> list[Axes]:
    """Dropout."""
    check_eval_mode(call)
    return elementwise(dataclasses.replace(call, signals=call.signals[:1], numbers=call.numbers[:1]))


def quantize(call: Call) -> list[Axes]:
    """QuantizeLinear and DequantizeLinear with constants."""
    _no_padding(call)
    call.check_only_first("scale")
    for numbers, other in zip(call.numbers[1:], call.others[1:], strict=True):
        if numbers is not None and numbers.size > 1:
            check_features(call.x, [call.attributes.get("axis", 1)], "has a scale")
        same(numbers, other)
    return [call.x]


def _all_but_first(call: Call) -> Sequence[int]:
    return range(1, len(call.x.axes))


def _axis(call: Call) -> Sequence[int]:
    return [call.attributes.get("axis", 0) % len(call.x.axes)]


def _same_letters(call: Call) -> list[Axes]:
    return [call.x.with_shape(shape) for shape in call.shapes]


def _over(axes: Callable[[Call], Sequence[int]], verb: str, *, has_weights: bool = False) -> Rule:
    """Make the rule of an operator that calculates over axes, which must be features."""

    def rule(call: Call) -> list[Axes]:
        _no_padding(call)
        if has_weights:
            check_weights(call)
        check_features(call.x, axes(call), verb)
        return _same_letters(call)

    return rule


def batch_normalization(call: Call) -> list[Axes]:
    """BatchNormalization with the statistics of the training."""
    _no_padding(call)
    check_weights(call)
    if call.attributes.get("training_mode") or len(call.node.output) > 1:
        raise ImportRefused("uses the statistics of the batch; export the network in eval mode")
    check_features(call.x, [1], "has channels")
    return [call.x]


def reduce(call: Call) -> list[Axes]:
    """ReduceSum, ReduceMean, ReduceMax and the like."""
    every = [] if call.attributes.get("noop_with_empty_axes") else range(len(call.x.axes))
    return _reduced(call, call.axes(default=every), call.node.op_type.removeprefix("Reduce").lower())


def _reduced(call: Call, axes: Sequence[int], verb: str) -> list[Axes]:
    _no_padding(call)
    check_features(call.x, axes, verb)
    if call.attributes.get("keepdims", 1):
        return _same_letters(call)
    return [call.x.with_shape(call.shapes[0], [letter for i, letter in enumerate(call.x.axes) if i not in axes])]


def matmul(call: Call) -> list[Axes]:
    """MatMul with weights, or of two tensors within each step."""
    _no_padding(call)
    check_weights(call)
    a, b = call.signals[0], call.signals[1]
    rank = len(call.shapes[0])
    if a is not None and b is not None:
        check_features(a, [-1, -2][: len(a.axes)], "multiplies each step with each other one (attention),")
        check_features(b, [-1, -2][: len(b.axes)], "multiplies each step with each other one (attention),")
        if min(len(a.axes), len(b.axes)) < 3:
            raise ImportRefused("multiplies two tensors that come from the data")
        inside = [x.with_shape(x.shape[:-2], x.axes[:-2]) for x in (a, b)]
        y = _joined(inside, call.shapes[0][:-2])
        return [y.with_shape(call.shapes[0], [*y.axes, "", ""])]
    x = a or b
    assert x is not None
    contracted = -1 if x is a or len(x.axes) == 1 else -2
    check_features(x, [contracted], "has weights")
    axes = list(x.axes)
    if x is a:
        other = call.numbers[1]
        axes = axes[:-1] if other is not None and other.ndim == 1 else [*axes[:-1], ""]
    else:
        axes[contracted] = ""
    return [x.with_shape(call.shapes[0], [""] * (rank - len(axes)) + axes)]


def gemm(call: Call) -> list[Axes]:
    """Gemm: of a signal with weights."""
    _no_padding(call)
    check_weights(call)
    a, b, c = (*call.signals, None)[:3]
    if (a is None) == (b is None) or c is not None:
        raise ImportRefused("multiplies two tensors that come from the data")
    x = a or b
    assert x is not None
    swapped = bool(call.attributes.get("transA" if x is a else "transB"))
    contracted = (0 if swapped else 1) if x is a else (1 if swapped else 0)
    check_features(x, [contracted], "has weights")
    kept = x.axes[1 - contracted]
    y = x.with_shape(call.shapes[0], [kept, ""] if x is a else ["", kept])
    if call.has(2):
        call.settled(2, y)
    return [y]


def concat(call: Call) -> list[Axes]:
    """Concat along features."""
    _no_padding(call)
    axis = call.attributes["axis"] % len(call.shapes[0])
    xs = [x for x in call.signals if x is not None]
    for x in xs:
        check_features(x, [axis], "joins tensors")
    y = _joined([x.with_shape([1 if i == axis else n for i, n in enumerate(x.shape)]) for x in xs], call.shapes[0])
    for index, numbers in enumerate(call.numbers):
        if numbers is not None:
            call.settled(index, y)
            if any(letter and numbers.shape[i] != y.shape[i] for i, letter in enumerate(y.axes)):
                raise ImportRefused("is a Concat with a constant of another size")
            if any(letter for letter in y.axes if "T" in letter) and call.others[index] is None:
                raise ImportRefused("is a Concat with a constant of fixed length")
    return [y]


def split(call: Call) -> list[Axes]:
    """Split along features."""
    check_features(call.x, _axis(call), "cuts")
    call.get(1, "split")
    return _same_letters(call)


def _ops(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


RULES: dict[str, Rule] = {
    **_ops(
        "Identity Cast CastLike Relu Sigmoid Tanh Elu Selu Celu LeakyRelu HardSigmoid HardSwish Softplus Softsign Gelu "
        "Erf Exp Log Sqrt Abs Neg Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Clip Reciprocal Floor Ceil "
        "Round Sign Mish Swish ThresholdedRelu Shrink Not IsNaN IsInf "
        "Add Sub Mul Div Pow Max Min Sum Mean Mod PRelu Where Equal Greater Less GreaterOrEqual LessOrEqual And Or Xor",
        elementwise,
    ),
    **_ops(
        "ReduceMean ReduceMax ReduceMin ReduceSum ReduceProd ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSum "
        "ReduceLogSumExp",
        reduce,
    ),
    **_ops("Softmax LogSoftmax Hardmax", _over(softmax_axes, "normalizes")),
    "LpNormalization": _over(lambda call: [call.attributes.get("axis", -1)], "normalizes"),
    **_ops("LayerNormalization RMSNormalization", _over(last_axes, "normalizes", has_weights=True)),
    **_ops(
        "InstanceNormalization GroupNormalization MeanVarianceNormalization",
        _over(_all_but_first, "normalizes", has_weights=True),
    ),
    # Operators over height and width: [batch, channels, …] without time there.
    **_ops(
        "GlobalAveragePool GlobalMaxPool GlobalLpPool ConvTranspose LRN",
        _over(_all_but_first, "calculates", has_weights=True),
    ),
    **_ops("QuantizeLinear DequantizeLinear", quantize),
    **_ops("ArgMax ArgMin", lambda call: _reduced(call, _axis(call), "chooses")),
    "CumSum": _over(lambda call: call.get(1, "axis"), "calculates"),
    "TopK": _over(lambda call: [call.attributes.get("axis", -1)], "calculates"),
    "BatchNormalization": batch_normalization,
    "Concat": concat,
    "Dropout": in_eval_mode,
    "Gemm": gemm,
    "MatMul": matmul,
    "Split": split,
    "Transpose": lambda call: [call.x.transpose(call.attributes.get("perm", range(len(call.x.axes))[::-1]))],
    "Unsqueeze": lambda call: [call.x.unsqueeze(call.get(1, "axes"))],
}
"""The operators that act on each step alone. `walk` handles those that it has to change."""
