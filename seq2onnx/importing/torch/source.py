"""The torch module as the source of the comparison: its answers in one layout."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from seq2onnx.importing.equivalence import Source
from seq2onnx.importing.lifting.layer_node import Array
from seq2onnx.importing.torch.trace import Arguments
from seq2onnx.layers import SequenceInput
from seq2onnx.layers.parts.normalization import normalize


def source_runner(
    module: nn.Module,
    arguments: Arguments,
    layer: SequenceInput,
    answers: Sequence[tuple[int, tuple[str, ...]]],
    softmax: bool,
) -> Source:
    """Return a function that runs the module: (x [B, T, …], lengths) -> answers [B, T, K] or [B, K]."""

    def once(x: Tensor, lengths: Tensor | None) -> list[Array]:
        steps = x.shape[1]
        known = torch.full((len(x),), steps) if lengths is None else lengths
        leaves = pytree.tree_leaves(module(*arguments.call(x, known)), is_leaf=lambda leaf: leaf is None)
        return [_canonical(leaves[place], axes, len(x), softmax) for place, axes in answers]

    def run(x: Array, lengths: Array | None) -> list[Array]:
        data = torch.from_numpy(x)
        if x.dtype != np.int64:
            data = normalize(data, layer.label, layer.normalization, layer.statistics, layer.shape)
        rows = None if lengths is None else torch.from_numpy(lengths)
        if arguments.batch:
            return once(data, rows)
        each = [once(data[i : i + 1], None if rows is None else rows[i : i + 1]) for i in range(len(data))]
        return [np.concatenate(found) for found in zip(*each, strict=True)]

    return run


def _canonical(y: Tensor, axes: tuple[str, ...], rows: int, softmax: bool) -> Array:
    """Bring an answer with these axes into the layout [B, T, K] or [B, K]."""
    letters: list[str] = []
    sizes: list[int] = []
    for axis, size in zip(axes, y.shape, strict=True):
        for letter in axis or "-":
            other = size // rows if len(axis) > 1 else size
            letters.append(letter)
            sizes.append(rows if letter == "B" else other)
    y = y.reshape(sizes)
    if "B" not in letters:
        letters.append("B")
        y = y[..., None]
    order = sorted(range(len(letters)), key=lambda i: ("BT-".index(letters[i]), i))
    y = y.permute(order).detach().cpu().float()
    y = y.flatten(1 + ("T" in letters)) if "-" in letters else y[..., None]
    found: Array = (y.softmax(-1) if softmax else y).numpy()
    return found
