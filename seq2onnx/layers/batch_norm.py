"""BatchNorm: normalize each channel by its mean and variance over the training data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, final

import numpy as np
from pydantic import Field

from seq2onnx.layers.base import Example, Layer, layer
from seq2onnx.layers.calls import EmitCall, Emitted, ForwardCall, Forwarded
from seq2onnx.layers.graph import GraphBuilder
from seq2onnx.layers.parts.initializers import ones, zeros
from seq2onnx.layers.signal import Signal, Weight

if TYPE_CHECKING:
    from torch import Tensor


@final
@layer
class BatchNorm(Layer):
    """Normalize each channel to mean 0 and variance 1, then apply a learned scale and offset.

        y = (x − μ) / √(σ² + ε) ⊙ γ + β

    In training, μ and σ² are computed over the rows, valid steps and space of the batch, without padding. Otherwise
    they are statistics of the training data (σ² with N − 1): `train` computes them over all batches of an epoch, and
    after the last epoch over the whole data (`batch_norm_statistics="exact"`). In a training loop of your own, and with
    "running", they are running means over the batches. Processes that train together use the rows of all processes.

    Shapes:
        y as x. The channel is the first axis of a step.

    Args:
        epsilon: ε, > 0.
        momentum: weight of a batch in the running means, 0 < momentum ≤ 1. Without running means it has no effect.

    Raises:
        ShapeError: the input is tokens.

    Weights:
        scale γ, offset β [C]; mean μ, variance σ² [C], which are not trained

    ONNX:
        Sub, Div, Mul, Add; √(σ² + ε) is computed when the file is loaded

    Example:
        >>> BatchNorm()

    Source:
        Ioffe & Szegedy 2015
    """

    epsilon: Annotated[float, Field(gt=0)] = 1e-5
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1

    kind: ClassVar[str] = "batch_norm"

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        shape = signals[0].shape[:1]
        return {
            "scale": Weight(shape, ones, decay=False),
            "offset": Weight(shape, zeros, decay=False),
            "mean": Weight(shape, zeros, trainable=False),
            "variance": Weight(shape, ones, trainable=False),
        }

    def forward(self, call: ForwardCall) -> Forwarded:
        import torch

        x = call.x
        x = x.to(call.weights["scale"].dtype)  # 16 bits are too coarse for means
        shape = (-1, *[1] * (x.ndim - call.first_feature_axis - 1))
        mean, variance = call.weights["mean"], call.weights["variance"]
        if call.training:
            values = valid_values(x, call.lengths)
            count: float = values.shape[1]
            if call.synchronized:
                count, batch = _over_processes(values)
            else:
                batch = (values.mean(1), values.var(1, correction=0)) if count else (mean, variance)
            if count:  # a batch may have no valid steps
                mean, variance = batch
                with torch.no_grad():
                    _update(call.weights, count, mean, variance, self.momentum)
        mean, scale = mean.reshape(shape), (variance + self.epsilon).sqrt().reshape(shape)
        y = (x - mean) / scale * call.weights["scale"].reshape(shape) + call.weights["offset"].reshape(shape)
        return y, call.lengths, {}

    def emit(self, graph: GraphBuilder, call: EmitCall) -> Emitted:
        x = call.x
        shape = (-1, *[1] * (len(x.signal.shape) - 1))
        scale, offset, mean, variance = (
            graph.weight(name, call.weights[name].reshape(shape)) for name in ("scale", "offset", "mean", "variance")
        )
        spread = graph.op("Sqrt", graph.op("Add", variance, graph.constant(np.float32(self.epsilon))))
        y = graph.op("Div", graph.op("Sub", x.name, mean), spread)
        return graph.op("Add", graph.op("Mul", y, scale), offset), call.lengths, {}

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [
            Example(cls(), (Signal((3,)),)),
            Example(cls(0.1), (Signal((2, 3)),)),
            Example(cls(momentum=0.5), (Signal((2, 3, 2)),)),
            Example(cls(), (Signal((3,), has_time=False, static=True),)),
        ]


def valid_values(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Collect the valid values of x [batch, time, channels, …], or of x without a time axis: [channels, n]."""
    from seq2onnx.building.layer_module import valid_steps

    valid = x if lengths is None else x[valid_steps(x, lengths)]
    return valid.movedim(1, 0).flatten(1)


def _update(weights: Mapping[str, Tensor], count: float, mean: Tensor, variance: Tensor, momentum: float) -> None:
    """Add `count` values, whose variance is with N, to the statistics in `weights`.

    `train` adds a buffer "count", the values so far, which it resets. Then the statistics are those of all these values
    instead of running means (Chan, Golub & LeVeque 1983).
    """
    running_mean, running_variance, seen = weights["mean"], weights["variance"], weights.get("count")
    if seen is None:
        running_mean.lerp_(mean, momentum)
        running_variance.lerp_(variance * (count / max(count - 1, 1)), momentum)
        return
    total = seen + count
    difference = mean - running_mean
    squares = (
        running_variance * (seen - 1).clamp(min=0) + variance * count + difference.square() * (seen * count / total)
    )
    running_mean.add_(difference * (count / total))
    running_variance.copy_(squares / (total - 1).clamp(min=1))
    seen.copy_(total)


def _over_processes(values: Tensor) -> tuple[float, tuple[Tensor, Tensor]]:
    """Return the number of values [channels, n] in all of torch's processes, and their (mean, variance)."""
    import torch

    from seq2onnx.building.layer_module import sum_over_processes

    size = values.new_tensor([values.shape[1]])
    sums = sum_over_processes(torch.cat([values.sum(1), size]).double())  # float32 counts only to 2²⁴
    count = float(sums[-1].detach())
    mean = (sums[:-1] / max(count, 1)).to(values)
    return count, (mean, sum_over_processes((values - mean[:, None]).square().sum(1)) / max(count, 1))
