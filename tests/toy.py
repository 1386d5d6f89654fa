"""A layer that the package does not know: a leaky sum, y_t = keep · y_{t-1} + x_t, with a learned gain."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np

from seq2onnx.layers import Example, Layer, Signal, State, Weight, layer


@final
@layer
class Leaky(Layer):
    """y_t = keep · y_{t-1} + gain · x_t; state h, the last y; in ONNX a Scan-free product with powers of keep."""

    keep: float

    kind: ClassVar[str] = "leaky"

    def infer(self, *signals):
        return signals[0]

    def weights(self, *signals):
        return {"gain": Weight(signals[0].shape, lambda rng, shape: rng.normal(size=shape).astype("f"))}

    def states(self, *signals):
        return (State("h", signals[0].shape),)

    def forward(self, call):
        import torch

        x, lengths = call.x, call.lengths
        h = call.states["h"] if call.states else x.new_zeros(x.shape[0], x.shape[2])
        steps = []
        for t in range(x.shape[1]):
            h = torch.where((t < lengths)[:, None], self.keep * h + call.weights["gain"] * x[:, t], h)
            steps.append(h)
        y = torch.stack(steps, 1) if steps else x
        return y, lengths, {"h": h} if call.states else {}

    def emit(self, graph, call):
        """Multiply by a lower triangular matrix of powers of keep. Steps past the end are masked to zero."""
        x, lengths, states = call.x, call.lengths, call.states
        one = graph.constant(np.array([1]))
        value = graph.op("Mul", x.name, graph.weight("gain", call.weights["gain"]))
        if lengths:
            value = graph.op("Where", graph.mask(x, lengths), value, graph.constant(np.float32([0])))
        count = graph.op("Squeeze", graph.op("Shape", x.name, start=1, end=2))
        steps = graph.op("Range", graph.constant(np.array(0)), count, graph.constant(np.array(1)))
        apart = graph.op("Sub", graph.op("Unsqueeze", steps, one), steps)
        powers = graph.op("Pow", graph.constant(np.float32(self.keep)), graph.op("Cast", apart, to=1))
        lower = graph.op("Trilu", powers, upper=0)
        y = graph.op("MatMul", lower, value)
        if states is None:
            return y, lengths, {}
        # What was there before fades: keep ** (t + 1) · h.
        fade = graph.op(
            "Pow", graph.constant(np.float32(self.keep)), graph.op("Cast", graph.op("Add", steps, one), to=1)
        )
        before = graph.op("Unsqueeze", states["h"], one)
        y = graph.op("Add", y, graph.op("Mul", graph.op("Unsqueeze", fade, one), before))
        # The last valid y, or before where there is none: row `length` of [before; y].
        every = graph.op("Concat", before, y, axis=1)
        if not lengths:
            end = graph.op("Gather", every, graph.constant(np.array(-1)), axis=1)
            return y, lengths, {"h": end}
        place = graph.op("Unsqueeze", graph.op("Cast", lengths, to=7), one)
        return y, lengths, {"h": graph.op("GatherND", every, place, batch_dims=1)}

    @classmethod
    def examples(cls):
        return [Example(cls(0.9), (Signal((3,)),))]


def leaky(layer, weights, xs, states):
    (h,) = states or (np.zeros(xs[0].shape[1]),)
    found = []
    for x in xs[0]:
        h = layer.keep * h + weights["gain"] * x
        found.append(h)
    return np.array(found).reshape(xs[0].shape), (h,)
