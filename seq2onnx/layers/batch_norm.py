"""BatchNorm: each channel with mean 0 and variance 1 over the training data, then scaled as learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, final

import numpy as np
from pydantic import Field

from seq2onnx.layers.base import Example, Layer, Signal, Weight, layer, numbers
from seq2onnx.layers.initializers import ones, zeros

if TYPE_CHECKING:
    from torch import Tensor

    from seq2onnx.exporting.graph import GraphBuilder
    from seq2onnx.layers.base import Arrays, Names, Nodes, Outputs, Tensors, Values
    from seq2onnx.layers.module import LayerModule


@final
@layer
class BatchNorm(Layer):
    """Each channel with mean 0 and variance 1, then a learned scale and offset.

        y = (x − μ) / √(σ² + ε) ⊙ γ + β

    While training μ and σ² are those of the batch, over its rows, valid steps and space, never over padding;
    running means of them (σ² with N − 1) are kept, and used everywhere else. Processes that train together take
    those of the rows of all.

    Shapes:  y as x; a channel is the first axis of a step
    State:   none
    Weights: scale γ, offset β [C]; mean μ, variance σ² [C], kept and not trained
    Args:    epsilon: ε, > 0
             momentum: the weight of a batch in the running means, 0 < momentum ≤ 1
    ONNX:    Sub, Div, Mul, Add; √(σ² + ε) is calculated when the file is loaded
    Raises:  ShapeError on tokens
    Example: >>> BatchNorm()
    Source:  Ioffe & Szegedy 2015
    """

    epsilon: Annotated[float, Field(gt=0)] = 1e-5
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1

    kind: ClassVar[str] = "batch_norm"

    def infer(self, *signals: Signal) -> Signal:
        return numbers(self, signals)

    def weights(self, *signals: Signal) -> dict[str, Weight]:
        shape = signals[0].shape[:1]
        return {
            "scale": Weight(shape, ones, decay=False),
            "offset": Weight(shape, zeros, decay=False),
            "mean": Weight(shape, zeros, trainable=False),
            "variance": Weight(shape, ones, trainable=False),
        }

    def forward(self, module: LayerModule, xs: Tensors, lengths: Tensor | None, states: Tensors | None) -> Outputs:
        import torch

        (x,) = xs
        x = x.to(module["scale"].dtype)  # means of 16 bits would be too coarse
        first = 1 if lengths is None else 2
        shape = (-1, *[1] * (x.ndim - first - 1))
        mean, variance = module["mean"], module["variance"]
        if module.training:
            values = valid_values(x, lengths)
            count: float = values.shape[1]
            if module.synchronized:
                count, batch = _over_processes(values)
            else:
                batch = (values.mean(1), values.var(1, correction=0)) if count else (mean, variance)
            if count:  # a batch may have no valid steps at all
                mean, variance = batch
                with torch.no_grad():
                    module["mean"].lerp_(mean, self.momentum)
                    module["variance"].lerp_(variance * (count / max(count - 1, 1)), self.momentum)
        mean, scale = mean.reshape(shape), (variance + self.epsilon).sqrt().reshape(shape)
        y = (x - mean) / scale * module["scale"].reshape(shape) + module["offset"].reshape(shape)
        return y, lengths, ()

    def emit(
        self, graph: GraphBuilder, xs: Values, lengths: str | None, states: Names | None, weights: Arrays
    ) -> Nodes:
        (x,) = xs
        shape = (-1, *[1] * (len(x.signal.shape) - 1))
        scale, offset, mean, variance = (
            graph.weight(name, weights[name].reshape(shape)) for name in ("scale", "offset", "mean", "variance")
        )
        spread = graph.op("Sqrt", graph.op("Add", variance, graph.constant(np.float32(self.epsilon))))
        y = graph.op("Div", graph.op("Sub", x.name, mean), spread)
        return graph.op("Add", graph.op("Mul", y, scale), offset), lengths, ()

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [
            Example(cls(), (Signal((3,)),)),
            Example(cls(0.1), (Signal((2, 3)),)),
            Example(cls(momentum=0.5), (Signal((2, 3, 2)),)),
            Example(cls(), (Signal((3,), has_time=False, static=True),)),
        ]


def valid_values(x: Tensor, lengths: Tensor | None) -> Tensor:
    """What is valid of all rows, steps and space: [channels, n] of x [batch, time, channels, …] or without time."""
    from seq2onnx.layers.module import steps_there

    valid = x if lengths is None else x[steps_there(x, lengths)]
    return valid.movedim(1, 0).flatten(1)


def _over_processes(values: Tensor) -> tuple[float, Tensors]:
    """How many values [channels, n] all of torch's processes have, and their (mean, variance)."""
    import torch

    from seq2onnx.layers.module import sum_over_processes

    size = values.new_tensor([values.shape[1]])
    sums = sum_over_processes(torch.cat([values.sum(1), size]).double())  # float32 counts to 2²⁴
    count = float(sums[-1].detach())
    mean = (sums[:-1] / max(count, 1)).to(values)
    return count, (mean, sum_over_processes((values - mean[:, None]).square().sum(1)) / max(count, 1))
