"""What a network answers to a batch, beside the targets: whole, or in chunks from which the state goes on."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from seq2onnx.network import Network
from seq2onnx.training.batching import Batch
from seq2onnx.training.module import Data, SequenceModule

Answers = tuple[Tensor, Tensor]
"""(y [n, k], target [n] or [n, k]): of all rows one after another the answers that have a target"""


def answers(module: SequenceModule, batch: Batch, logits: bool) -> Answers:
    """To whole sequences."""
    y, y_lengths, _ = module(batch.x, batch.lengths, logits=logits, return_state=False, check=False)
    return y if y_lengths is None else y[batch.answered(y, y_lengths)], batch.target


def answers_in_chunks(module: SequenceModule, batch: Batch, size: int, logits: bool) -> Iterator[Answers]:
    """To so many steps after another, the state carried on and its gradient not.

    Learning from each before the next is asked for is truncated backpropagation through time. A target that is one a
    sequence is for the chunk in which that ends.
    """
    state = module.initial_state(len(batch.lengths))
    begin: Tensor | int = 0  # of each row's targets among all
    if batch.counts is not None:
        begin = (batch.counts.cumsum(0) - batch.counts)[:, None]
    came = torch.zeros_like(batch.lengths)
    for start in range(0, max(batch.steps, 1), size):
        here = (batch.lengths - start).clamp(0, size)
        x = _steps(batch.x, slice(start, start + size), module.network)
        y, y_lengths, state = module(x, here, state, logits=logits, check=False)
        state = tuple(tensor.detach() for tensor in state)
        if y_lengths is None:
            ends = (here > 0) & (batch.lengths <= start + size) if start else batch.lengths <= size
            yield y[ends], batch.target[ends]
            continue
        assert batch.first is not None
        chosen = batch.answered(y, y_lengths, came)
        place = torch.arange(y.shape[1], device=y.device) + (came - batch.first)[:, None] + begin
        came = came + y_lengths
        yield y[chosen], batch.target[place[chosen]]


def _steps(x: Data, steps: slice, network: Network) -> Data:
    """Some steps of each input that has them."""
    if isinstance(x, Tensor):
        return x[:, steps]
    return {name: part[:, steps] if network.signals[name].has_time else part for name, part in x.items()}
