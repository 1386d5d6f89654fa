"""The forward pass of a batch, over whole sequences or chunk by chunk, with the outputs matched to their targets."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from seq2onnx.building.module import Data, SequenceModule
from seq2onnx.training.batch_dataset import Batch

Outputs = tuple[Tensor, Tensor]
"""(y [n, k], target [n] or [n, k]): the outputs that have a target, of all rows one after another."""


def forward_whole(module: SequenceModule, batch: Batch, logits: bool) -> Outputs:
    """Run whole sequences."""
    y, y_lengths, _ = module(batch.x, batch.lengths, logits=logits, return_state=False, check=False)
    return y if y_lengths is None else y[batch.has_target(y, y_lengths)], batch.target


def forward_in_chunks(module: SequenceModule, batch: Batch, size: int, logits: bool) -> Iterator[Outputs]:
    """Run chunks of `size` steps; see `run_in_chunks`.

    A weight update after each chunk is truncated backpropagation through time. A target for a whole sequence belongs
    to the chunk in which the sequence ends.
    """
    before = torch.zeros_like(batch.lengths)  # outputs of earlier chunks
    for y, y_lengths, ends in run_in_chunks(module, batch, size, logits):
        if y_lengths is None:
            yield y[ends], batch.target[ends]
            continue
        assert batch.first is not None
        assert batch.counts is not None
        chosen = batch.has_target(y, y_lengths, before)
        row_starts = batch.counts.cumsum(0) - batch.counts  # where the targets of each row begin in batch.target
        places = torch.arange(y.shape[1], device=y.device) + (row_starts + before - batch.first)[:, None]
        before = before + y_lengths
        yield y[chosen], batch.target[places[chosen]]


def run_in_chunks(
    module: SequenceModule, batch: Batch, size: int, logits: bool = False
) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
    """Run chunks of `size` steps; the state is carried from chunk to chunk, its gradient is not.

    Yields:
        y and its lengths, and which rows end in this chunk, bool [batch].
    """
    state = tuple(tensor.to(batch.lengths.device) for tensor in module.initial_state(len(batch.lengths)))
    for start in range(0, max(batch.steps, 1), size):
        lengths = (batch.lengths - start).clamp(0, size)
        x = _steps(batch.x, slice(start, start + size), module)
        y, y_lengths, state = module(x, lengths, state, logits=logits, check=False)
        state = tuple(tensor.detach() for tensor in state)
        yield y, y_lengths, (lengths > 0) & (batch.lengths <= start + size) if start else batch.lengths <= size


def _steps(x: Data, steps: slice, module: SequenceModule) -> Data:
    """Cut these steps out of each input that has time."""
    if isinstance(x, Tensor):
        return x[:, steps]
    signals = module.network.signals
    return {name: part[:, steps] if signals[name].has_time else part for name, part in x.items()}
