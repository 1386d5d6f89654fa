"""Several inputs of a foreign network, which are one input while it is imported: parts of its features."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from seq2onnx.layers import FeatureInput, SequenceInput
from seq2onnx.network import Network


@dataclasses.dataclass(frozen=True)
class Input:
    """A part of the joined features x [batch, time, features]; without time, it is what the last step has.

    `place` is that of the argument among those of a torch module.
    """

    name: str
    size: int
    has_time: bool
    place: int = 0

    @property
    def layer(self) -> SequenceInput | FeatureInput:
        """The layer of the input."""
        return (SequenceInput if self.has_time else FeatureInput)(self.size, name=self.name)


def features(inputs: Sequence[Input]) -> Iterator[tuple[Input, slice]]:
    """Yield each input with the place of its features among all."""
    at = 0
    for each in inputs:
        yield each, slice(at, at + each.size)
        at += each.size


def entering(network: Network, inputs: Sequence[Input], x: Any, whole: Any) -> Any:
    """Return what enters a network for the steps x of whole sequences, both arrays or tensors."""
    used = {layer.label for layer in network.inputs}
    parts = [(each.name, (x if each.has_time else whole[:, -1])[..., part]) for each, part in features(inputs)]
    found = {name: part for name, part in parts if name in used}
    return found if len(found) > 1 else next(iter(found.values()), x)


def hold_vectors(x: Any, inputs: Sequence[Input]) -> None:
    """Give vectors of whole sequences the same numbers at each step of x."""
    for each, part in features(inputs):
        if not each.has_time:
            x[..., part] = x[:, -1:, part]
