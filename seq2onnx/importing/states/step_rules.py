"""The operators of foreign graphs that act on each step alone: a rule for each, which follows the axes.

A rule takes a Call and returns the signals that the node gives. The node stays as it is. A rule raises ImportRefused
where the node joins steps or rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.axes import Axes, broadcast
from seq2onnx.importing.onnx.node_calls import Call, check_features, constant_weights, no_padding, same

Rule = Callable[[Call], list[Axes]]


def elementwise(call: Call) -> list[Axes]:
    """A function of each number, and of numbers at the same place of other tensors."""
    no_padding(call)
    y = _joined([x for x in call.signals if x is not None], call.shapes[0])
    for index in range(len(call.signals)):
        call.settled(index, y)
    return [y] * len(call.shapes)


def _joined(xs: Sequence[Axes], shape: Sequence[int]) -> Axes:
    """Broadcast tensors that have the same steps."""
    y = broadcast(xs, shape)
    if len({x.has_time for x in xs}) > 1:
        raise ImportRefused("combines every step with the last one, which a stream does not know before it comes")
    if len({x.pads for x in xs}) > 1:
        raise ImportRefused(
            f"combines tensors that are padded or cut by different numbers of steps, {[x.pads for x in xs]}"
        )
    return y


def in_eval_mode(call: Call) -> list[Axes]:
    """Dropout."""
    training = call.get(2, "training_mode")
    if training and training[0]:
        raise ImportRefused("draws random numbers; export the network in eval mode")
    return elementwise(dataclasses.replace(call, signals=call.signals[:1], numbers=call.numbers[:1]))


def quantize(call: Call) -> list[Axes]:
    """QuantizeLinear and DequantizeLinear with constants."""
    no_padding(call)
    if any(x is not None for x in call.signals[1:]) or call.signals[0] is None:
        raise ImportRefused("takes its scale from the data")
    for numbers, other in zip(call.numbers[1:], call.others[1:], strict=True):
        if numbers is not None and numbers.size > 1:
            check_features(call.x, [call.attributes.get("axis", 1)], "has a scale")
        same(numbers, other)
    return [call.x]


def along_axis(call: Call) -> list[Axes]:
    """Softmax and the like; before opset 13 over all axes from one on."""
    no_padding(call)
    x = call.x
    axis = call.attributes.get("axis", 1 if call.opset < 13 and "Lp" not in call.node.op_type else -1) % len(x.letters)
    over = range(axis, len(x.letters)) if call.opset < 13 and "max" in call.node.op_type.lower() else [axis]
    check_features(x, over, "normalizes")
    return [x]


def from_axis_on(call: Call) -> list[Axes]:
    """LayerNormalization and RMSNormalization."""
    no_padding(call)
    constant_weights(call)
    axis = call.attributes.get("axis", -1) % len(call.x.letters)
    check_features(call.x, range(axis, len(call.x.letters)), "normalizes")
    return [call.x] * len(call.shapes)


def from_channels_on(call: Call) -> list[Axes]:
    """InstanceNormalization and GroupNormalization: all axes but the batch."""
    no_padding(call)
    constant_weights(call)
    check_features(call.x, range(1, len(call.x.letters)), "normalizes")
    return [call.x]


def batch_normalization(call: Call) -> list[Axes]:
    """BatchNormalization with the statistics of the training."""
    no_padding(call)
    constant_weights(call)
    if call.attributes.get("training_mode") or len(call.node.output) > 1:
        raise ImportRefused("uses the statistics of the batch; export the network in eval mode")
    check_features(call.x, [1], "has channels")
    return [call.x]


def reduce(call: Call) -> list[Axes]:
    """ReduceSum, ReduceMean, ReduceMax and the like."""
    no_padding(call)
    x = call.x
    every = [] if call.attributes.get("noop_with_empty_axes") else range(len(x.letters))
    axes = call.axes(default=every)
    check_features(x, axes, call.node.op_type.removeprefix("Reduce").lower())
    return [_reduced(x, axes, call)]


def arg(call: Call) -> list[Axes]:
    """ArgMax and ArgMin."""
    no_padding(call)
    axis = call.attributes.get("axis", 0) % len(call.x.letters)
    check_features(call.x, [axis], "chooses")
    return [_reduced(call.x, [axis], call)]


def _reduced(x: Axes, axes: Sequence[int], call: Call) -> Axes:
    if call.attributes.get("keepdims", 1):
        return x.with_shape(call.shapes[0])
    return x.with_shape(call.shapes[0], [letter for axis, letter in enumerate(x.letters) if axis not in axes])


def along_features(call: Call) -> list[Axes]:
    """CumSum, TopK: along one axis of features."""
    no_padding(call)
    default = call.attributes.get("axis", -1)
    axis = call.get(1, "axis") if call.node.op_type == "CumSum" else default
    check_features(call.x, [axis[0] if isinstance(axis, list) else axis], "calculates")
    return [call.x.with_shape(shape) for shape in call.shapes]


def matmul(call: Call) -> list[Axes]:
    """MatMul with weights, or of two tensors within each step."""
    no_padding(call)
    constant_weights(call)
    a, b = call.signals[0], call.signals[1]
    rank = len(call.shapes[0])
    if a is not None and b is not None:
        check_features(a, [-1, -2][: len(a.letters)], "multiplies each step with each other one (attention),")
        check_features(b, [-1, -2][: len(b.letters)], "multiplies each step with each other one (attention),")
        if min(len(a.letters), len(b.letters)) < 3:
            raise ImportRefused("multiplies two tensors that come from the data")
        inside = [x.with_shape(x.shape[:-2], x.letters[:-2]) for x in (a, b)]
        y = _joined(inside, call.shapes[0][:-2])
        return [y.with_shape(call.shapes[0], [*y.letters, "", ""])]
    x = a or b
    assert x is not None
    contracted = -1 if x is a or len(x.letters) == 1 else -2
    check_features(x, [contracted], "has weights")
    axes = list(x.letters)
    if x is a:
        other = call.numbers[1]
        axes = axes[:-1] if other is not None and other.ndim == 1 else [*axes[:-1], ""]
    else:
        axes[contracted] = ""
    return [x.with_shape(call.shapes[0], [""] * (rank - len(axes)) + axes)]


def gemm(call: Call) -> list[Axes]:
    """Gemm: of a signal with weights."""
    no_padding(call)
    constant_weights(call)
    a, b, c = (*call.signals, None)[:3]
    if (a is None) == (b is None) or c is not None:
        raise ImportRefused("multiplies two tensors that come from the data")
    x = a or b
    assert x is not None
    swapped = bool(call.attributes.get("transA" if x is a else "transB"))
    contracted = (0 if swapped else 1) if x is a else (1 if swapped else 0)
    check_features(x, [contracted], "has weights")
    kept = x.letters[1 - contracted]
    y = x.with_shape(call.shapes[0], [kept, ""] if x is a else ["", kept])
    if call.has(2):
        call.settled(2, y)
    return [y]


def concat(call: Call) -> list[Axes]:
    """Concat along features."""
    no_padding(call)
    axis = call.attributes["axis"] % len(call.shapes[0])
    xs = [x for x in call.signals if x is not None]
    for x in xs:
        check_features(x, [axis], "joins tensors")
    y = _joined([x.with_shape([1 if i == axis else n for i, n in enumerate(x.shape)]) for x in xs], call.shapes[0])
    for index, numbers in enumerate(call.numbers):
        if numbers is not None:
            call.settled(index, y)
            if any(letter and numbers.shape[i] != y.shape[i] for i, letter in enumerate(y.letters)):
                raise ImportRefused("is a Concat with a constant of another size")
            if any(letter for letter in y.letters if "T" in letter) and call.others[index] is None:
                raise ImportRefused("is a Concat with a constant of fixed length")
    return [y]


def split(call: Call) -> list[Axes]:
    """Split along features."""
    axis = call.attributes.get("axis", 0) % len(call.x.letters)
    check_features(call.x, [axis], "cuts")
    call.get(1, "split")
    return [call.x.with_shape(shape) for shape in call.shapes]


def one_transpose(call: Call) -> list[Axes]:
    """Transpose."""
    order = call.attributes.get("perm", range(len(call.x.letters))[::-1])
    return [call.x.transpose(order)]


def one_unsqueeze(call: Call) -> list[Axes]:
    """Unsqueeze."""
    return [call.x.unsqueeze(call.get(1, "axes"))]


def one_squeeze(call: Call) -> list[Axes]:
    """Squeeze with axes."""
    return [call.x.squeeze(call.axes())]


def within_steps(call: Call) -> list[Axes]:
    """Global poolings and other operators over height and width: [batch, channels, …] without time there."""
    no_padding(call)
    constant_weights(call)
    x = call.x
    check_features(x, range(1, len(x.letters)), "calculates")
    return [x.with_shape(call.shapes[0], [x.letters[0]] + [""] * (len(call.shapes[0]) - 1))]


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
    **_ops("Softmax LogSoftmax Hardmax LpNormalization", along_axis),
    **_ops("LayerNormalization RMSNormalization", from_axis_on),
    **_ops("InstanceNormalization GroupNormalization MeanVarianceNormalization", from_channels_on),
    **_ops("GlobalAveragePool GlobalMaxPool GlobalLpPool ConvTranspose LRN", within_steps),
    **_ops("QuantizeLinear DequantizeLinear", quantize),
    **_ops("ArgMax ArgMin", arg),
    **_ops("CumSum TopK", along_features),
    "BatchNormalization": batch_normalization,
    "Concat": concat,
    "Dropout": in_eval_mode,
    "Gemm": gemm,
    "MatMul": matmul,
    "Split": split,
    "Squeeze": one_squeeze,
    "Transpose": one_transpose,
    "Unsqueeze": one_unsqueeze,
}
"""The operators that act on each step alone. `walk` handles those that it has to change."""
