"""Attention over time: a softmax over time, its product with a sequence, and a sum over time are one AttentionPool."""

from __future__ import annotations

import numpy as np

from seq2onnx.errors import ImportRefused
from seq2onnx.importing.lifting import layout, time_axis
from seq2onnx.importing.lifting.layer_node import barred, layer_node
from seq2onnx.importing.lifting.reading import Index, exact, flat, narrow, source
from seq2onnx.importing.lifting.traced import TracedTensor
from seq2onnx.layers import AttentionPool


def softmax_over_time(x: TracedTensor) -> TracedTensor:
    """Softmax over time, which only a product with a sequence and a sum over time make a layer."""
    if any(x.pads):
        raise ImportRefused("is a softmax over time of steps that were padded or cut off")
    reason = f"has a softmax over time{_place(x)}; only the sum over time of its product with a sequence is a layer"
    return x.with_(parts=tuple(barred(reason, part, stands_for=("softmax", part)) for part in x.parts))


def weighted(a: TracedTensor, b: TracedTensor) -> TracedTensor | None:
    """Return a · b if one is a softmax over time, which only a sum over time makes a layer."""
    scores = time_axis.standing_for(a, "softmax")
    if scores is None:
        a, b, scores = b, a, time_axis.standing_for(b, "softmax")
    if scores is None:
        return None
    if any(scores.pads):
        raise ImportRefused(f"cuts off or pads the weights of a softmax over time{_place(scores)}")
    scores, x = layout.broadcast(scores, b)
    values = flat(exact(x))
    found, places = source(scores)
    chosen = _of_heads(places.ravel())
    pooled = layer_node(AttentionPool(len(chosen)), values, flat(narrow(found, chosen)))
    reason = f"weighs each step by a softmax over time{_place(x)}; only the sum over time is a layer"
    part = barred(reason, values, stands_for=("weighted", pooled))
    return x.with_(parts=(part,), index=np.arange(values.size).reshape(x.index.shape), pads=(0, 0))


def _place(x: TracedTensor) -> str:
    return f" ({x.lifting.place})" if x.lifting.place else ""


def _of_heads(places: Index) -> Index:
    """Return the score of each head, given that of each channel: heads weigh as many channels in a row each."""
    ends = np.flatnonzero(np.diff(places, append=-2))
    size = int(ends[0]) + 1
    return places[ends] if np.array_equal(ends, np.arange(size - 1, len(places), size)) else places
